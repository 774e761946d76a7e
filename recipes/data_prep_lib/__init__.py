"""Text to Megatron bin/idx or nanoGPT .bin shards: what recipes/data_prep.py is made of.

    config.py      the YAML file -> Config            schema.py    closed keys, types, nearest names
    inputs.py      dataset -> files                   walk.py      globs; what cannot be listed is an error
    kinds.py       a file's name -> its format        shards.py    files -> shards (byte ranges)
    budget.py      max_tokens -> a limit for each shard
    hf_datasets.py hf:// datasets -> files            remote.py      a file by path or address
    stores.py      objects by s3://, gs://, https://  store_listing.py  such an address -> objects
    store_file.py  an object as a file            addresses.py   addresses in a configuration
    transfer.py    `upload` to a store, `fetch` from it
    store_errors.py  what a store answers, in words   aws_files.py   keys in ~/.aws
    vocab.py       tokenizer files, ids, dtype        identity.py  what made this output; refuses a mixture
    readers.py     shard -> documents                 compressed.py  .gz and .zst as byte streams
    parquet.py     one column of row groups           hub.py       a tokenizer from the hub
    megatron.py    token ids -> .bin and .idx         safe_files.py  temporary name, fsync, rename
    worker.py      one shard, in a worker process     pool.py      all shards, several processes
    forks.py       processes that share one engine    preload.py   what the process that forks them imports
    receipts.py    which shards are done              held_out.py  one valid and one test file a dataset
    nanogpt.py     .bin and .bos.idx, how many        formats.py    what each output format asks of a config
    blocks.py      documents -> nanoGPT files         assembly.py   the parts of all shards -> nanoGPT files
    blend.py       blend.json                         report.py    record.json and the closing table
    latest.py      the hash in the output's path, and the stable names that lead to the newest
    nodes.py       rank, world size, the locks        agreement.py all nodes have one plan
    claims.py      who makes which shard              closing.py   what is to be said at the end
    engines.py     what encodes texts                 engine_check.py  which one: adversarial.py, and a sample
    framing.py     encoded documents -> the ids that are written
    batches.py     documents, some at a time          huge.py      one of many megabytes, in parts
    rows.py        a row -> its text                  specials.py  special tokens inside texts
    separator.py   what begins and ends a document    auto_tokenizer.py  transformers' ids, compared
    artifact.py    the manifest of the output, versioned; hashes.py: of a value, of the input
    progress.py    the line that moves                preflight.py  what is refused before work starts
    layout.py      where everything lies              errors.py    what a person can cause, and its exit code
    entry.py       --config or `look`, of curate too  findings.py  the form of what `look` finds

    look.py        `look`: findings and a table, for the launcher's dry run; estimate.py: by a sample
    relocate.py    `relocate PATH`: an output that was moved
    train_tokenizer.py  `train-tokenizer`: texts -> a byte-level BPE tokenizer

    inspect_cli.py   `inspect PATH`: options, output  inspect_path.py  a path -> the sets of files behind it
    inspect_pair.py  a bin/idx pair                   inspect_bin.py   a nanoGPT .bin with its .bos.idx
    inspect_found.py what is found in either

Runs inside the job. Nothing here imports the launcher, torch or nemo_automodel.
"""
