"""The program, its configuration and its numbers: Python, PyTorch, AutoModel, Megatron-Bridge."""

from __future__ import annotations

from .signature import CANNOT, CASCADE, EITHER, MAY, ROOT, Signature

_KEYS = "the checkpoint is of a model of another shape: the config's model section, tp and pp, or checkpoint.load"

PROGRAM = (
    Signature(
        "import",
        ROOT,
        r"(?:[\w.]+\.)?(?:ModuleNotFoundError|ImportError|SyntaxError|IndentationError|TabError)\b",
        "the program cannot be imported: a package or a library is missing or broken, or a file is not valid Python",
        "the image, `python` of the profile, or the line that the traceback names",
    ),
    Signature(
        "library-missing",
        ROOT,
        r"(?:OSError: |ImportError: )?\S+\.so[.\d]*: (?:cannot open shared object file|undefined symbol"
        r"|version `\S+' not found)|/\S+: version `(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found",
        "a library does not fit the others: built for another PyTorch, CUDA or operating system",
        "packages of one image; LD_LIBRARY_PATH must not bring others",
    ),
    Signature(
        "world-size",
        ROOT,
        r"(?:AssertionError: |RuntimeError: )?\s*world[ _]size \(\d+\) is not divisible by"
        r"|.*must be divisible by (?:tp_size|ep_size|TP size|pp_size)|dp_size must be a multiple of",
        "the number of ranks does not fit tp, pp, cp and ep",
        "nodes x nproc_per_node has to be a multiple of tp x pp x cp",
        CANNOT,
    ),
    Signature(
        "batch-size",
        ROOT,
        r"(?:current )?global batch size \(\d+\) is not divisible by micro",
        "the global batch size is not a multiple of micro batch size x data-parallel size",
        "train.global_batch_size, train.micro_batch_size",
        CANNOT,
    ),
    Signature(
        "weights-shape",
        ROOT,
        r"Error\(s\) in loading state_dict for|size mismatch for \S+: copying a param with shape"
        r"|Size mismatch between saved .* and current: |Global shape mismatch for loaded"
        r"|.*CheckpointingException: Global shape mismatch",
        "weights of another shape than the model's",
        _KEYS,
        CANNOT,
    ),
    Signature(
        "weights-keys",
        ROOT,
        r"Missing key\(?s?\)? in (?:state_dict|checkpoint state_dict)|Unexpected key\(s\) in state_dict"
        r"|.*CheckpointingException: (?:Missing|Unexpected) keys",
        "the checkpoint lacks weights that the model has, or the other way round",
        _KEYS,
        CANNOT,
    ),
    Signature(
        "checkpoint-none",
        ROOT,
        r"(?:.*CheckpointingException: )?(?:Checkpoint directory \S+ does not exist"
        r"|\S+ is not a distributed checkpoint)",
        "there is no checkpoint of Megatron's where the config says",
        "checkpoint.load, checkpoint.pretrained_checkpoint: the directory that holds iter_N",
    ),
    Signature(
        "seed",
        ROOT,
        r"Seed \(\S+\) should be a positive integer",
        "Megatron-Bridge takes no seed below 1",
        "rng.seed",
        CANNOT,
    ),
    Signature(
        "no-cuda",
        ROOT,
        r"Megatron requires CUDA|Cuda is not available|Torch not compiled with CUDA enabled"
        r"|.*Found no NVIDIA driver on your system|ProcessGroupNCCL is only supported with GPUs, no GPUs found",
        "the job runs where there is no GPU, or with a PyTorch for CPUs",
        "gres or gpus_per_node in the profile; an image with PyTorch for CUDA; `--nv`, where apptainer starts it",
    ),
    Signature(
        "argument",
        ROOT,
        r"(?:TypeError: )?[\w.<>]+\(\) got an unexpected keyword argument|.*missing \d+ required (?:positional|keyword)"
        r"|omegaconf\.errors\.\w+: |hydra\.errors\.\w+: |.*Invalid attention head counts",
        "the config gives what the program does not take, or lacks what it needs",
        "the key that the line names; `launch.py check` shows where it was written",
    ),
    Signature(
        "nan-loss",
        ROOT,
        r"the loss is not a number|.*Unexpected result (?:nan|inf)\b|.*found (?:NaN|Inf) in local (?:grad|forward)"
        r"|.*\b[Ll]oss is (?:nan|NaN|inf)\b|.*NaN or Inf found in|Function '\w+' returned nan values",
        "the training has diverged, or a batch or a GPU is bad",
        "lr, warm-up and clipping; the batch of that step; the same step on another node shows whether a GPU is bad",
    ),
    Signature(
        "result-differs",
        ROOT,
        r".*Possible (?:transient|persistent) error|.*not reproducible on the same GPU",
        "the same step has given two results: a GPU computes wrongly",
        "tell the operators the node that the line names; `launch.py doctor --gpu PROFILE`",
    ),
    Signature(
        "segfault",
        EITHER,
        r"(?:Fatal Python error: )?(?:Segmentation fault|Floating point exception)|killed by SIG(?:SEGV|FPE|ILL)"
        r"|malloc\(\): |free\(\): invalid|double free or corruption|corrupted (?:size vs|double-linked)"
        r"|\*\*\* stack smash"
        r"|munmap_chunk\(\)",
        "a library has crashed: mostly one that was built for other packages, seldom the machine",
        "the stack in the rank's log; packages of one image; does it come on one node only?",
    ),
    Signature(
        "abort",
        EITHER,
        r"(?:Fatal Python error: )?Aborted|killed by SIGABRT",
        "a library has ended the process, mostly after an error that stands before it in the log",
        "the lines before it in the rank's log",
    ),
    Signature(
        "bad-instruction",
        ROOT,
        r"Fatal Python error: Illegal instruction|Illegal instruction",
        "a library was built for a newer kind of CPU than the node's",
        "an image for that kind of CPU, or other nodes (constraint)",
    ),
    Signature(
        "triton",
        ROOT,
        r"(?:[\w.]+\.)?(?:CompilationError|OutOfResources|BackendCompilerFailed|InductorError|LoweringException)\b"
        r"|.*triton\.runtime\.errors\.",
        "a kernel could not be compiled for this GPU, or needs more of it than there is",
        "compile.enabled: false, or another attention; TRITON_CACHE_DIR on a disk of the node",
    ),
    Signature(
        "compiler",
        ROOT,
        r".*Error building extension '|.*Ninja is required to load C\+\+ extensions"
        r"|.*CUDA_HOME environment variable is not"
        r"|.*Failed to find C compiler",
        "an extension could not be compiled in the job",
        "an image with a compiler (gcc, ninja, nvcc), or with the extension built in",
    ),
    Signature(
        "data-empty",
        ROOT,
        r".*(?:num_samples should be a positive integer value, but got num_samples=0"
        r"|no (?:sample|samples|document|documents) (?:to consume|in the))|bad header, cannot read: "
        r"|One or both of the \.idx and \.bin files cannot be found",
        "there are no data, or no data of the form that is read",
        "`launch.py data-prep inspect PATH`",
    ),
    Signature(
        "data-decode",
        EITHER,
        r"(?:[\w.]+\.)?(?:JSONDecodeError|UnicodeDecodeError|ArrowInvalid|DatasetGenerationError|CastError)\b",
        "a file of the data, or of the configuration, cannot be read",
        "the file that the traceback names: cut short, or of another format",
    ),
    Signature(
        "dtype",
        ROOT,
        r"expected (?:m1 and m2|scalar type|mat1 and mat2) .*(?:dtype|but found)"
        r"|.*mat1 and mat2 shapes cannot be multiplied"
        r"|The size of tensor a \(\d+\) must match|shape '\[.*\]' is invalid for input of size",
        "tensors of shapes or types that do not fit: of the model's configuration, or of one odd batch",
        "the line that the traceback names; seq_length, vocab_size, dtype",
    ),
    Signature(
        "unused-parameters",
        ROOT,
        r"Expected to have finished reduction in the prior iteration|Expected to mark a variable ready only once",
        "parameters of the model take no part in the loss, or take part twice",
        "find_unused_parameters of the distributed section; static_graph with activation checkpointing",
    ),
    Signature(
        "exit-after-others",
        CASCADE,
        r"(?:[\w.]+\.)?(?:CheckpointException|BrokenProcessPool|BrokenPipeError|EOFError|KeyboardInterrupt)\b",
        "a helper process or another rank had ended before",
        "look for what came before",
        MAY,
    ),
)
