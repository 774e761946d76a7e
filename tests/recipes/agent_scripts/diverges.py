"""Steps whose loss is a number, then none that is, for as long as it is let."""

import time

for step in range(2000):
    loss = "1.5" if step in (0, 1, 3) else "nan"
    print(f"2026-01-01 | INFO | root | step {step} | epoch 0 | loss {loss} | lr 1.0e-04", flush=True)
    time.sleep(0.05)
