// The tables: every command and every option of `tern`, once. Names and defaults are llama.cpp's where that program has
// the same thing.
#include "opt.h"

#define ON(command) (1u << COMMAND_##command)

enum {
    ON_ALL = (1 << COMMAND_N) - 1,
    ON_GENERATE = ON(RUN) | ON(CHAT),
    ON_COMPUTE = ON_GENERATE | ON(LOGITS) | ON(PPL) | ON(EVAL),
    ON_MODEL = ON_GENERATE | ON(LOGITS) | ON(PPL) | ON(TOKENIZE) | ON(INFO), // its operand is the model
    ON_OPEN = ON_MODEL | ON(EVAL) | ON(CONVERT) | ON(BENCH) | ON(PLAN), // opens a model
    ON_DEVICE = ON_COMPUTE | ON(SELFTEST) | ON(BENCH) | ON(VERIFY),
    ON_REPORT = ON(INFO) | ON(PLAN) | ON(DEVICES) | ON(TOKENIZE) | ON(PPL) | ON(EVAL) | ON(SELFTEST),
};

#define MAX_COUNT 2147483647.0 // counts are 32-bit in tern.h

// clang-format off: one row an entry, so that the tables read as tables
const command_spec opt_commands[COMMAND_N] = {
    [COMMAND_RUN] = {"run", "[MODEL]", 1, "continue a text",
        "Continues a prompt and writes the new text to standard output as it comes. The prompt is taken as it is (no "
        "chat template, no escapes) and is not repeated unless --display-prompt is given; the stop token is not "
        "shown. When standard output is a terminal a newline follows the text.\n\n"
        "One line break at the end of a prompt that comes from -f or from standard input is dropped, because editors "
        "and echo put it there.",
        "tern run models/stories -p 'Once upon a time' -n 64"},
    [COMMAND_CHAT] = {"chat", "[MODEL]", 1, "talk with a model",
        "Replies are written to standard output as they come, everything else to standard error. The conversation is "
        "written in the format the model was trained with; special tokens spelled in a message are plain text. Base "
        "models have no such format: there the model continues your text.\n\n"
        "On a terminal: Enter sends the message. A line that ends with a backslash, Alt-Enter and pasted text of "
        "several lines make one message of several lines. Ctrl-C stops a reply, which stays in the conversation as "
        "far as it came; at an empty prompt Ctrl-C twice or Ctrl-D leaves. The arrow keys edit and recall messages.\n\n"
        "Commands: /reset forgets the conversation (not the system message), /save FILE and /load FILE keep it as "
        "JSON, /stats shows context, reuse and speed, /help lists these, /quit leaves. A message that begins with a "
        "space is never a command.\n\n"
        "When standard input is not a terminal every line is a message, a backslash at its end joins the next one, "
        "and the first failure ends the program with its exit code.",
        "tern chat model.gguf -sys 'Answer briefly.'"},
    [COMMAND_INFO] = {"info", "[MODEL]", 1, "describe a model file",
        "Shows architecture, geometry, bytes and bits per weight by class, the share of zero weights (which reads "
        "all ternary weights), formats, tokenizer and the arithmetic that will be used.",
        "tern info model.gguf"},
    [COMMAND_DEVICES] = {"devices", "", 0, "list the devices of this machine",
        "Lists devices in order of preference, and why others that were looked for cannot be used.",
        "tern devices"},
    [COMMAND_PLAN] = {"plan", "[MODEL]", 1, "say what a model takes on a device, before loading it",
        "From the file's header (or a synthetic shape) and the facts of a device that is here, or of a known card that "
        "is not (--card): bytes by class, which contexts fit with which KV cache, the bytes that decoding a token must "
        "read, and the time that takes at the card's bandwidth. Without -c a table over contexts; with -c the exit "
        "code says whether it fits. Context and driver of a card that is not here count as 450 MiB.",
        "tern plan synthetic:70b --card rtx4090 --vram 90%"},
    [COMMAND_CONVERT] = {"convert", "IN OUT.gguf", 2, "write a model as a GGUF file",
        "Reads any model Tern can open and writes one GGUF file with its ternary weights in the given encoding. i2_s "
        "keeps trits and scales exactly and needs one scale for each matrix; tq1_0 and tq2_0 take one for every 256 "
        "columns of a row and round it to fp16; f16 takes anything. A matrix that the encoding cannot hold is refused, "
        "with the encodings that can. The file appears under its name only when complete.",
        "tern convert models/stories stories.gguf --type i2_s"},
    [COMMAND_SYNTH] = {"synth", "SHAPE OUT.gguf", 2, "write a synthetic model as a GGUF file",
        "Random ternary weights of a named geometry (2b4t, 700m, 1.3b, 3b, 3.9b, 7b, 8b, 13b, 30b, 70b, 70b-v32k, "
        "100b), the same that synthetic:SHAPE gives, as a file: for other engines, and for measuring what a file "
        "costs. The file says that it is synthetic, and so does every report about it. Room on the disk is checked "
        "first. What an interrupted run wrote stays as OUT.gguf.part, and the same command goes on from there.",
        "tern synth 3b synthetic-3b.gguf --type i2_s"},
    [COMMAND_TOKENIZE] = {"tokenize", "[MODEL]", 1, "turn a text into token ids",
        "Prints the ids on one line, separated by commas. MODEL may also be a directory that holds only "
        "tokenizer.json. The text is taken byte for byte, also from a file or standard input. No "
        "beginning-of-sequence token is put in front unless --add-bos is given.",
        "tern tokenize models/stories -p 'Once upon a time'"},
    [COMMAND_LOGITS] = {"logits", "[MODEL]", 1, "write the logits of a token sequence",
        "Evaluates the tokens and writes float32 logits [tokens, vocabulary] as a NumPy file. With -p the "
        "beginning-of-sequence token is added where the model wants one; --tokens are used exactly as given.",
        "tern logits models/stories --tokens 4093,443,2378 --out logits.npy"},
    [COMMAND_PPL] = {"ppl", "[MODEL]", 1, "measure perplexity on a text",
        "Counts as llama-perplexity does: the whole file is tokenised, cut into chunks of -c tokens, the first token "
        "of each chunk is replaced by BOS where the model uses one, and the second half of every chunk is scored. "
        "Reports the file's SHA-256 and token count, because perplexities compare only on the same tokens.\n\n"
        "--kl-base FILE also writes what the run predicted for every scored token (2 bytes a token of the vocabulary "
        "each), and --kl FILE compares a run with such a file: the divergence of each token's prediction, in nats. "
        "The tokens then come from the file.",
        "tern ppl models/stories -f text.txt -c 256"},
    [COMMAND_EVAL] = {"eval", "TASK FILE.jsonl", 2, "measure accuracy on multiple-choice questions",
        "TASK is arc-easy, arc-challenge, winogrande, hellaswag or piqa, and FILE the data set's JSON lines, as "
        "published or from the Hugging Face hub (PIQA's labels are read from FILE-labels.lst beside FILE.jsonl when "
        "lines have none). Zero-shot, in the form of the EleutherAI evaluation harness: the choice whose continuation "
        "gets the largest ln p counts (acc), or the largest per character (acc_norm). The text begins with BOS where "
        "the model begins texts with one, which is the harness with add_bos_token=True.",
        "tern eval arc-easy ARC-Easy-Test.jsonl -m model.gguf"},
    [COMMAND_VERIFY] = {"verify", "", 0, "check the claims made for ternary models, and write a report",
        "Tests the device, then measures synthetic models of the published sizes, ternary and FP16 in turn, computes "
        "what plans and operation counts decide, and writes a folder: REPORT.md, REPORT.html (one file, with plots), "
        "environment.json, samples.jsonl with every repetition, results.json and hashes. Every claim gets a verdict "
        "against a threshold that was set before: confirmed, refuted, not decided (the threshold lies inside the 95 % "
        "interval) or not testable here.\n\n"
        "--quick takes minutes on a small machine and is only indicative. The full run takes all sizes that fit the "
        "memory and may take hours on a CPU. With a model, a float model of the same kind and a text the quality "
        "claims are measured, too. The exit code is 1 if the self-test fails, not if a claim does.",
        "tern verify --quick -m models/stories -f text.txt --out report"},
    [COMMAND_SELFTEST] = {"selftest", "", 0, "check a device against the reference",
        "Runs every operation on the device and compares the results with the reference bit for bit.",
        "tern selftest -dev cpu"},
    [COMMAND_BENCH] = {"bench", "[MODEL...]", 64, "measure the speed of models",
        "Measures prompt evaluation (pp) and generation (tg) in tokens per second over repetitions after a warm-up. "
        "Tokenising and sampling are not part of the times. Numbers may be lists with commas and ranges "
        "(128-1024*2, 1-9+2, 2k); all combinations are run.\n\n"
        "What is compared is interleaved: the models stand side by side as far as memory allows and take turns, so "
        "that other work on the machine hits all alike; models that do not fit beside each other are measured one "
        "after the other, and the rows say so.\n\n"
        "A row is valid when in the same process the device gave the reference's bits for every operation, the "
        "model's logits did not change, and the row did not beat the measured bandwidth of the memory. GB/s counts "
        "weights and KV cache that must be read; % BW is its share of the best read measured around and between the "
        "tests, then that of the median token in the median read. % int8, of prompts on a CPU, says the same of the "
        "multiply-adds with ternary matrices and the rate of int8 products in registers.",
        "tern bench models/stories -p 128 -n 32 -d 0,512 --weights stored,f16 -r 3"},
    [COMMAND_HELP] = {"help", "[COMMAND]", 1, "explain a command",
        "Without a command lists all of them. --man prints the manual page (view it with `tern help --man | man -l "
        "-`), --completion a script for the shell.",
        "tern help run"},
};

const opt_spec opt_table[] = {
    {.id = OPT_MODEL, .kind = OPT_PATH, .commands = ON_MODEL | ON(PLAN), .names = "-m --model", .value = "MODEL",
     .help = "model: a .gguf file, a Hugging Face directory or synthetic:SHAPE; the same as the operand"},
    {.id = OPT_MODEL, .kind = OPT_PATH, .commands = ON(BENCH), .names = "-m --model", .value = "MODEL",
     .repeats = true, .help = "model; may be repeated, or be a list with commas"},
    {.id = OPT_MODEL, .kind = OPT_PATH, .commands = ON(EVAL), .names = "-m --model", .value = "MODEL",
     .help = "model: a .gguf file or a Hugging Face directory"},
    {.id = OPT_MODEL, .kind = OPT_PATH, .commands = ON(VERIFY), .names = "-m --model", .value = "MODEL",
     .help = "a ternary model for the quality claims"},
    {.id = OPT_FLOAT_MODEL, .kind = OPT_PATH, .commands = ON(VERIFY), .names = "--float-model", .value = "DIR",
     .help = "a float model of a BitNet graph (Hugging Face directory), to be ternarised without training"},
    {.id = OPT_FILE, .kind = OPT_PATH, .commands = ON(VERIFY), .names = "-f --file", .value = "FILE",
     .help = "the text that quality is measured on"},
    {.id = OPT_QUICK, .kind = OPT_SWITCH, .commands = ON(VERIFY), .names = "--quick",
     .help = "small shapes, 3 repeats, no energy; results are indicative"},
    {.id = OPT_SHAPES, .kind = OPT_TEXT, .commands = ON(VERIFY), .names = "--shapes", .value = "NAME,...",
     .help = "synthetic shapes to measure, in ascending size (tiny, 700m, 1.3b, 3b, 3.9b, 7b, 13b, 70b, 100b); those "
             "that fit unless given"},
    {.id = OPT_OUT, .kind = OPT_PATH, .commands = ON(VERIFY), .names = "--out", .value = "DIR",
     .help = "folder to make for the report, which has its name only when complete; tern-claims-DATE-TIME unless "
             "given"},
    {.id = OPT_ACT, .kind = OPT_CHOICE, .commands = ON_OPEN, .names = "--act", .value = "KIND",
     .choices = "auto|int8|int8x2|f32", .default_text = "auto",
     .help = "how activations enter ternary products; auto: as the model was trained (tern info says which and why)"},
    {.id = OPT_I2S_LAYOUT, .kind = OPT_CHOICE, .commands = ON_OPEN, .names = "--i2s-layout", .value = "LAYOUT",
     .choices = "128|64|row4", .default_text = "128",
     .help = "packing of I2_S files, which they do not name: 128 for official files and x86 builds, 64 for newer ARM "
             "builds, row4 for x86 builds without ACT_PARALLEL"},
    {.id = OPT_PROMPT, .kind = OPT_TEXT, .commands = ON(RUN) | ON(TOKENIZE) | ON(LOGITS), .names = "-p --prompt",
     .value = "TEXT",
     .help = "the text; - reads standard input"},
    {.id = OPT_PROMPT, .kind = OPT_TEXT, .commands = ON(CHAT), .names = "-p --prompt", .value = "TEXT",
     .help = "the first message; - reads it from standard input"},
    {.id = OPT_SYSTEM, .kind = OPT_TEXT, .commands = ON(CHAT), .names = "-sys --system-prompt", .value = "TEXT",
     .help = "system message at the beginning of the conversation"},
    {.id = OPT_SYSTEM_FILE, .kind = OPT_PATH, .commands = ON(CHAT), .names = "-sysf --system-prompt-file",
     .value = "FILE",
     .help = "read the system message from a file"},
    {.id = OPT_CHAT_FORMAT, .kind = OPT_CHOICE, .commands = ON(CHAT), .names = "--chat-format --chat-template",
     .value = "NAME",
     .choices = "auto|bitnet|llama3|falcon3|chatml|plain", .default_text = "auto",
     .help = "how the conversation is written for the model; auto: by architecture and vocabulary (templates inside "
             "files are not interpreted); plain: for base models, texts one after the other"},
    {.id = OPT_SINGLE_TURN, .kind = OPT_SWITCH, .commands = ON(CHAT), .names = "-st --single-turn",
     .help = "leave after the first reply"},
    {.id = OPT_REVERSE_PROMPT, .kind = OPT_TEXT, .commands = ON(CHAT), .names = "-r --reverse-prompt",
     .value = "TEXT", .repeats = true, .help = "end a reply where this text appears in it; may be repeated"},
    {.id = OPT_FILE, .kind = OPT_PATH, .commands = ON_GENERATE | ON(TOKENIZE), .names = "-f --file", .value = "FILE",
     .help = "read the text from a file"},
    {.id = OPT_FILE, .kind = OPT_PATH, .commands = ON(PPL), .names = "-f --file", .value = "FILE",
     .help = "the text to measure on"},
    {.id = OPT_TOKENS, .kind = OPT_LIST, .commands = ON(LOGITS), .names = "--tokens", .value = "ID,...",
     .max = MAX_COUNT, .help = "token ids, comma separated, evaluated exactly as given"},
    {.id = OPT_ADD_BOS, .kind = OPT_SWITCH, .commands = ON(TOKENIZE), .names = "--add-bos",
     .help = "begin with the beginning-of-sequence token where the model wants one"},
    {.id = OPT_SPECIAL, .kind = OPT_SWITCH, .commands = ON(RUN) | ON(TOKENIZE) | ON(LOGITS), .names = "--special",
     .help = "read special tokens written in the text, such as <|eot_id|>, as tokens, and show those that are "
             "generated"},
    {.id = OPT_PREDICT, .kind = OPT_INTEGER, .commands = ON_GENERATE, .names = "-n --predict --n-predict", .value = "N",
     .min = -1, .max = MAX_COUNT, .default_text = "-1",
     .help = "tokens to generate at most (chat: in a reply); -1: until the model stops or the context is full"},
    {.id = OPT_BENCH_PROMPT, .kind = OPT_SWEEP, .commands = ON(BENCH), .names = "-p --n-prompt", .value = "N,...",
     .max = 1048576, .default_text = "512", .help = "tokens of the prompt tests; 0: none"},
    {.id = OPT_BENCH_GEN, .kind = OPT_SWEEP, .commands = ON(BENCH), .names = "-n --n-gen", .value = "N,...",
     .max = 1048576, .default_text = "128", .help = "tokens of the generation tests; 0: none"},
    {.id = OPT_BENCH_BOTH, .kind = OPT_LIST, .commands = ON(BENCH), .names = "-pg", .value = "PP,TG",
     .max = 1048576, .repeats = true,
     .help = "a test of PP prompt tokens and then TG generated ones; may be repeated"},
    {.id = OPT_DEPTH, .kind = OPT_SWEEP, .commands = ON(BENCH), .names = "-d --n-depth", .value = "N,...",
     .max = 1048576, .default_text = "0", .help = "tokens already in the context of every test"},
    {.id = OPT_PARALLEL, .kind = OPT_SWEEP, .commands = ON(BENCH), .names = "-np --parallel", .value = "N,...",
     .max = 64, .default_text = "1",
     .help = "sequences that are decoded together, one row of each in every evaluation"},
    {.id = OPT_REPEATS, .kind = OPT_INTEGER, .commands = ON(BENCH), .names = "-r --repetitions", .value = "N",
     .min = 1, .max = 10000, .default_text = "5", .help = "timed repetitions of each test"},
    {.id = OPT_NO_WARMUP, .kind = OPT_SWITCH, .commands = ON(BENCH), .names = "--no-warmup",
     .help = "no discarded run before the timed ones"},
    {.id = OPT_NO_CHECK, .kind = OPT_SWITCH, .commands = ON(BENCH), .names = "--no-check",
     .help = "no self-test of the device; the rows are then not valid"},
    {.id = OPT_ENERGY_WINDOW, .kind = OPT_REAL, .commands = ON(BENCH), .names = "--energy-window",
     .value = "SECONDS", .min = 0, .max = 3600, .default_text = "5",
     .help = "how long a test is repeated for a reading of the energy counter, where there is one; 0: no energy"},
    {.id = OPT_KERNELS, .kind = OPT_SWITCH, .commands = ON(BENCH), .names = "--kernels",
     .help = "time the products of known models alone, each beside the FP16 product of its shape, instead of models"},
    {.id = OPT_KERNELS_FILTER, .kind = OPT_TEXT, .commands = ON(BENCH), .names = "--kernels-filter", .value = "TEXT",
     .help = "of --kernels only those whose name contains this, as '70b down' or 'M=1 '"},
    {.id = OPT_PROBE, .kind = OPT_SWITCH, .commands = ON(BENCH), .names = "--probe",
     .help = "measure read and copy bandwidth and the int8 rate of the device, instead of models"},
    {.id = OPT_CTX, .kind = OPT_INTEGER, .commands = ON_GENERATE | ON(PLAN), .names = "-c --ctx-size", .value = "N",
     .min = 0, .max = MAX_COUNT, .default_text = "0", .help = "positions of context; 0: the model's own"},
    {.id = OPT_CTX, .kind = OPT_INTEGER, .commands = ON(PPL), .names = "-c --ctx-size", .value = "N",
     .min = 4, .max = 1048576, .default_text = "512", .help = "tokens of a chunk"},
    {.id = OPT_CHUNKS, .kind = OPT_INTEGER, .commands = ON(PPL), .names = "--chunks", .value = "N",
     .min = -1, .max = MAX_COUNT, .default_text = "-1", .help = "chunks to measure at most; -1: all"},
    {.id = OPT_KL_BASE, .kind = OPT_PATH, .commands = ON(PPL), .value = "FILE",
     .names = "--kl-base --kl-divergence-base --save-all-logits",
     .help = "write the predictions of this run, for other runs to be compared with"},
    {.id = OPT_KL, .kind = OPT_PATH, .commands = ON(PPL), .names = "--kl --kl-divergence", .value = "FILE",
     .help = "compare with the run that wrote FILE: KL divergence, same top token, ratio of perplexities"},
    {.id = OPT_LIMIT, .kind = OPT_INTEGER, .commands = ON(EVAL), .names = "--limit", .value = "N",
     .min = 0, .max = MAX_COUNT, .default_text = "0", .help = "only the first N questions; 0: all"},
    {.id = OPT_BATCH, .kind = OPT_SWEEP, .commands = ON(BENCH), .names = "-b --batch-size", .value = "N,...",
     .max = 65536, .default_text = "512", .help = "rows evaluated at once"},
    {.id = OPT_BATCH, .kind = OPT_INTEGER, .commands = ON_COMPUTE | ON(PLAN), .names = "-b --batch-size",
     .value = "N",
     .min = 1, .max = 65536, .default_text = "512", .help = "rows evaluated at once; results do not depend on it"},
    {.id = OPT_THREADS, .kind = OPT_SWEEP, .commands = ON(BENCH), .names = "-t --threads", .value = "N,...",
     .max = 1024, .default_text = "0", .help = "CPU threads; 0: all this process may use"},
    {.id = OPT_THREADS, .kind = OPT_INTEGER, .commands = ON_COMPUTE | ON(SELFTEST) | ON(VERIFY),
     .names = "-t --threads", .value = "N",
     .min = 0, .max = 1024, .default_text = "0", .help = "CPU threads; 0: all this process may use"},
    {.id = OPT_DEVICE, .kind = OPT_TEXT, .commands = ON(BENCH) | ON(VERIFY), .names = "-dev --device",
     .value = "NAME,...", .default_text = "auto", .help = "devices to run on (see tern devices); auto: the first"},
    {.id = OPT_DEVICE, .kind = OPT_TEXT, .commands = ON_COMPUTE | ON(SELFTEST) | ON(PLAN), .names = "-dev --device",
     .value = "NAME",
     .default_text = "auto", .help = "device to run on (see tern devices); auto: the first"},
    {.id = OPT_KV_K, .kind = OPT_CHOICE, .commands = ON(BENCH), .names = "-ctk --cache-type-k", .value = "TYPE,...",
     .choices = "f32|f16|int8|q8_0=int8", .refused = "q4_0|int4|bf16|q4_1|iq4_nl|q5_0|q5_1", .is_list = true,
     .default_text = "int8",
     .help = "how keys are kept in the KV cache"},
    {.id = OPT_KV_K, .kind = OPT_CHOICE, .commands = ON_COMPUTE | ON(PLAN), .names = "-ctk --cache-type-k",
     .value = "TYPE",
     .choices = "f32|f16|int8|int4|q8_0=int8|q4_0=int4",
     .refused = "bf16|q4_1|iq4_nl|q5_0|q5_1", .default_text = "int8",
     .help = "how keys are kept in the KV cache"},
    {.id = OPT_KV_V, .kind = OPT_CHOICE, .commands = ON(BENCH), .names = "-ctv --cache-type-v", .value = "TYPE,...",
     .choices = "f32|f16|int8|q8_0=int8", .refused = "q4_0|int4|bf16|q4_1|iq4_nl|q5_0|q5_1", .is_list = true,
     .help = "how values are kept in the KV cache; like -ctk unless given"},
    {.id = OPT_KV_V, .kind = OPT_CHOICE, .commands = ON_COMPUTE | ON(PLAN), .names = "-ctv --cache-type-v",
     .value = "TYPE",
     .choices = "f32|f16|int8|int4|q8_0=int8|q4_0=int4",
     .refused = "bf16|q4_1|iq4_nl|q5_0|q5_1",
     .help = "how values are kept in the KV cache; like -ctk unless given"},
    {.id = OPT_VRAM, .kind = OPT_SIZE, .commands = ON_COMPUTE | ON(BENCH) | ON(PLAN), .names = "--vram",
     .value = "SIZE",
     .help = "device memory that may be used, as 20GiB or 90% of the device's total; what is free unless given"},
    {.id = OPT_GPU_LAYERS, .kind = OPT_INTEGER, .commands = ON_COMPUTE | ON(BENCH) | ON(PLAN),
     .names = "-ngl --gpu-layers --n-gpu-layers", .value = "N", .min = 0, .max = MAX_COUNT, .choices = "auto|all",
     .default_text = "auto",
     .help = "the last N layers and the head run on the device, the others on the CPU; auto, all: every layer on the "
             "device"},
    {.id = OPT_STREAM, .kind = OPT_INTEGER, .commands = ON_COMPUTE | ON(BENCH) | ON(PLAN), .names = "--stream",
     .value = "N", .min = 0, .max = MAX_COUNT, .choices = "auto|none", .default_text = "auto",
     .help = "layers whose weights stay in pinned host memory and are copied to the device for each step; auto: none "
             "if all fit the device, else as many as must"},
    {.id = OPT_LAYOUT, .kind = OPT_CHOICE, .commands = ON(BENCH), .names = "--layout", .value = "NAME,...",
     .choices = "auto|t64|t80", .default_text = "auto", .is_list = true,
     .help = "packing of ternary weights on the device: two bits a weight (t64) or 1.6 (t80); auto: t64 unless only "
             "t80 fits"},
    {.id = OPT_LAYOUT, .kind = OPT_CHOICE, .commands = ON_COMPUTE | ON(PLAN), .names = "--layout",
     .value = "NAME", .choices = "auto|t64|t80", .default_text = "auto",
     .help = "packing of ternary weights on the device: two bits a weight (t64) or 1.6 (t80); auto: t64 unless only "
             "t80 fits; results do not depend on it"},
    {.id = OPT_EMBEDDING, .kind = OPT_CHOICE, .commands = ON_COMPUTE | ON(BENCH) | ON(PLAN), .names = "--embedding",
     .value = "PLACE", .choices = "auto|device|host", .default_text = "auto",
     .help = "where the embedding table lies; auto: in pinned host memory where it is not the head too"},
    {.id = OPT_EAGER, .kind = OPT_SWITCH, .commands = ON(BENCH), .names = "--eager",
     .help = "enqueue every step op by op, also where the device could replay a recorded one: shows what that saves"},
    {.id = OPT_FAST_ATTENTION, .kind = OPT_SWITCH, .commands = ON_COMPUTE | ON(BENCH) | ON(PLAN),
     .names = "--fast-attention",
     .help = "attention of prompts in fp16 on the tensor cores of an NVIDIA GPU (sm_80 or later), over an f16 KV cache "
             "(-ctk f16): the results are not bit-equal to those of other devices, but within a stated error of them"},
    {.id = OPT_WEIGHTS, .kind = OPT_CHOICE, .commands = ON(BENCH), .names = "--weights", .value = "KIND,...",
     .choices = "stored|f16", .default_text = "stored", .is_list = true,
     .help = "f16: the model's float twin, its matrices as fp16 and multiplied by the device's BLAS library where it "
             "has one; stored,f16 runs both in turn"},
    {.id = OPT_WEIGHTS, .kind = OPT_CHOICE, .commands = ON_COMPUTE | ON(PLAN), .names = "--weights",
     .value = "KIND",
     .choices = "stored|f16", .default_text = "stored",
     .help = "f16: the model's float twin for comparison, its matrices as fp16 and multiplied by the device's BLAS "
             "library (cuBLAS, CLBlast) where it has one"},
    {.id = OPT_HEAD, .kind = OPT_CHOICE, .commands = ON(BENCH), .names = "--head", .value = "KIND,...",
     .choices = "stored|f16|int8|int4|screen", .default_text = "stored", .is_list = true,
     .help = "how the embedding and the head of models as stored are held: int8 takes a byte a weight, int4 about half "
             "a byte; screen: an int4 head chooses 256 tokens, whose logits the stored rows give; float twins have a "
             "float head"},
    {.id = OPT_HEAD, .kind = OPT_CHOICE, .commands = ON_COMPUTE | ON(PLAN), .names = "--head",
     .value = "KIND",
     .choices = "stored|f16|int8|int4|screen", .default_text = "stored",
     .help = "how the embedding and the head are held: int8 takes a byte a weight, int4 about half a byte, both made "
             "when the model is loaded and multiplied as exact integers; screen: both as stored, and an int4 head that "
             "chooses the 256 best tokens, whose logits the stored rows then give exactly"},
    {.id = OPT_CARD, .kind = OPT_TEXT, .commands = ON(PLAN), .names = "--card", .value = "NAME",
     .help = "plan for a card that need not be here: rtx3090, rtx4090, rtx5090, a100-40, h100, h200, ... (an unknown "
             "name lists all)"},
    {.id = OPT_BANDWIDTH, .kind = OPT_REAL, .commands = ON(PLAN), .names = "--bandwidth", .value = "GB/S",
     .min = 1, .max = 100000, .help = "memory bandwidth for the floor, instead of the card's data sheet"},
    {.id = OPT_LINK, .kind = OPT_REAL, .commands = ON(PLAN), .names = "--link", .value = "GB/S",
     .min = 0.1, .max = 10000, .default_text = "25",
     .help = "rate of the link from host memory to the device, for the floor of streamed layers; the default is what "
             "PCIe 4.0 x16 gives"},
    {.id = OPT_PARALLEL, .kind = OPT_INTEGER, .commands = ON(PLAN), .names = "-np --parallel", .value = "N",
     .min = 1, .max = 4096, .default_text = "1", .help = "sequences that share the context"},
    {.id = OPT_CACHE_DIR, .kind = OPT_PATH, .commands = ON_DEVICE | ON(DEVICES), .names = "--cache-dir",
     .value = "DIR",
     .help = "where compiled device programs and packed weights are kept between runs; none: nowhere; tern in the "
             "user's cache directory unless given"},
    {.id = OPT_NO_PACK_CACHE, .kind = OPT_SWITCH, .commands = ON_COMPUTE | ON(BENCH) | ON(VERIFY),
     .names = "--no-pack-cache",
     .help = "neither use nor keep weights packed for the CPU, which make the next start of a large model faster and "
             "otherwise lie in the cache directory"},
    {.id = OPT_SEED, .kind = OPT_INTEGER, .commands = ON_GENERATE, .names = "-s --seed", .value = "N",
     .min = -1, .max = 4294967295.0, .default_text = "-1",
     .help = "seed of the sampler; -1: a new one, shown at the end"},
    {.id = OPT_SEED, .kind = OPT_INTEGER, .commands = ON(SYNTH), .names = "-s --seed", .value = "N",
     .min = 0, .max = 4294967295.0, .default_text = "0", .help = "seed of the weights"},
    {.id = OPT_TEMP, .kind = OPT_REAL, .commands = ON_GENERATE, .names = "--temp --temperature", .value = "X",
     .min = 0, .max = 100, .default_text = "0.8", .help = "temperature; 0: always the most likely token"},
    {.id = OPT_TOP_K, .kind = OPT_INTEGER, .commands = ON_GENERATE, .names = "--top-k", .value = "N",
     .min = 0, .max = MAX_COUNT, .default_text = "40", .help = "sample from the N most likely tokens; 0: all"},
    {.id = OPT_TOP_P, .kind = OPT_REAL, .commands = ON_GENERATE, .names = "--top-p", .value = "X",
     .min = 0, .max = 1, .default_text = "0.95",
     .help = "sample from the likeliest tokens that together reach X; 1: off"},
    {.id = OPT_MIN_P, .kind = OPT_REAL, .commands = ON_GENERATE, .names = "--min-p", .value = "X",
     .min = 0, .max = 1, .default_text = "0.05", .help = "drop tokens less likely than X times the likeliest; 0: off"},
    {.id = OPT_REPEAT_PENALTY, .kind = OPT_REAL, .commands = ON_GENERATE, .names = "--repeat-penalty", .value = "X",
     .min = 0.01, .max = 100, .default_text = "1", .help = "penalise tokens seen before; 1: off"},
    {.id = OPT_REPEAT_LAST_N, .kind = OPT_INTEGER, .commands = ON_GENERATE, .names = "--repeat-last-n", .value = "N",
     .min = 0, .max = 1048576, .default_text = "64", .help = "tokens the penalties look back at; 0: none"},
    {.id = OPT_PRESENCE_PENALTY, .kind = OPT_REAL, .commands = ON_GENERATE, .names = "--presence-penalty", .value = "X",
     .min = -100, .max = 100, .default_text = "0", .help = "taken from the logit of every token seen; 0: off"},
    {.id = OPT_FREQUENCY_PENALTY, .kind = OPT_REAL, .commands = ON_GENERATE, .names = "--frequency-penalty",
     .value = "X",
     .min = -100, .max = 100, .default_text = "0", .help = "taken from a token's logit each time it was seen; 0: off"},
    {.id = OPT_LOGIT_BIAS, .kind = OPT_TEXT, .commands = ON_GENERATE, .names = "-l --logit-bias", .value = "ID(+|-)X",
     .repeats = true, .help = "add X to the logit of token ID, as 15043+1 or 15043-inf; may be repeated"},
    {.id = OPT_IGNORE_EOS, .kind = OPT_SWITCH, .commands = ON_GENERATE, .names = "--ignore-eos",
     .help = "never choose a token that ends the text"},
    {.id = OPT_IDS, .kind = OPT_SWITCH, .commands = ON(RUN), .names = "--ids",
     .help = "print the generated ids, comma separated, instead of text"},
    {.id = OPT_DISPLAY_PROMPT, .kind = OPT_SWITCH, .commands = ON(RUN), .names = "--display-prompt",
     .help = "print the prompt before the generated text"},
    {.id = OPT_TYPE, .kind = OPT_CHOICE, .commands = ON(CONVERT) | ON(SYNTH), .names = "--type", .value = "TYPE",
     .choices = "i2_s|tq1_0|tq2_0|f16", .default_text = "i2_s",
     .help = "encoding of the ternary weights in the new file"},
    {.id = OPT_HEAD_TYPE, .kind = OPT_CHOICE, .commands = ON(CONVERT) | ON(SYNTH), .names = "--head-type",
     .value = "TYPE",
     .choices = "f16|q8_0|q6_k",
     .help = "encoding of the token embedding and the output head; as they are stored unless given"},
    {.id = OPT_VERIFY, .kind = OPT_SWITCH, .commands = ON(CONVERT) | ON(SYNTH), .names = "--verify",
     .help = "read the new file back and compare it with the model before it gets its name"},
    {.id = OPT_FULL, .kind = OPT_SWITCH, .commands = ON(SELFTEST), .names = "--full",
     .help = "all cases, also the large shapes (minutes)"},
    {.id = OPT_OUTPUT, .kind = OPT_CHOICE, .commands = ON_REPORT, .names = "-o --output", .value = "FORMAT",
     .choices = "md|json", .default_text = "md", .help = "form of the report: md for people, json for programs"},
    {.id = OPT_OUTPUT, .kind = OPT_CHOICE, .commands = ON(BENCH), .names = "-o --output", .value = "FORMAT",
     .choices = "md|json|jsonl|csv|sql", .default_text = "md", .help = "form of the report"},
    {.id = OPT_OUT, .kind = OPT_PATH, .commands = ON(LOGITS), .names = "--out", .value = "FILE.npy",
     .help = "file to write; it appears under its name only when complete"},
    {.id = OPT_MAN, .kind = OPT_SWITCH, .commands = ON(HELP), .names = "--man", .help = "print the manual page (roff)"},
    {.id = OPT_COMPLETION, .kind = OPT_CHOICE, .commands = ON(HELP), .names = "--completion", .value = "SHELL",
     .choices = "bash|zsh|fish", .help = "print the completion script of a shell"},
    {.id = OPT_LIST_DEVICES, .kind = OPT_SWITCH, .commands = ON_DEVICE | ON(DEVICES), .names = "--list-devices",
     .help = "list the devices and stop"},
    {.id = OPT_QUIET, .kind = OPT_SWITCH, .commands = ON_ALL, .names = "-q --quiet",
     .help = "nothing on standard error but errors"},
    {.id = OPT_VERBOSE, .kind = OPT_SWITCH, .commands = ON_ALL, .names = "-v --verbose",
     .help = "show what the engine logs"},
    {.id = OPT_HELP, .kind = OPT_SWITCH, .commands = ON_ALL, .names = "-h --help",
     .help = "explain the command and stop"},
    {.id = OPT_FLASH_ATTENTION, .kind = OPT_TEXT, .commands = ON_COMPUTE | ON(BENCH), .names = "-fa --flash-attn",
     .value = "on|off|auto",
     .is_ignored = true, .help = "accepted and ignored: there is one attention"},
    {.id = OPT_UBATCH, .kind = OPT_TEXT, .commands = ON(BENCH), .names = "-ub --ubatch-size", .value = "N",
     .is_ignored = true, .help = "accepted and ignored: batches are not divided further"},
    {.id = OPT_CONVERSATION, .kind = OPT_SWITCH, .commands = ON(CHAT), .names = "-cnv --conversation",
     .is_ignored = true, .help = "accepted and ignored: chat is always a conversation"},
    {.id = OPT_NO_CONVERSATION, .kind = OPT_SWITCH, .commands = ON(RUN), .names = "-no-cnv --no-conversation",
     .is_ignored = true, .help = "accepted and ignored: run is never a conversation"},
    {.id = OPT_NO_DISPLAY_PROMPT, .kind = OPT_SWITCH, .commands = ON(RUN), .names = "--no-display-prompt",
     .is_ignored = true, .help = "accepted and ignored: the prompt is not repeated unless --display-prompt is given"},
};

const size_t opt_table_size = sizeof opt_table / sizeof opt_table[0];

const exit_meaning opt_exit_codes[] = {
    {EXIT_CODE_OK, "success, also when the reader of standard output went away"},
    {EXIT_CODE_RUN, "the run failed: a check that did not pass, a full context, an output that could not be written"},
    {EXIT_CODE_USAGE, "the command line is wrong"},
    {EXIT_CODE_INPUT, "the model or an input file is missing, broken or not supported"},
    {EXIT_CODE_DEVICE, "the device cannot be used, or the memory does not suffice"},
    {EXIT_CODE_INTERRUPTED, "interrupted (Ctrl-C)"},
};

// clang-format on

const size_t opt_n_exit_codes = sizeof opt_exit_codes / sizeof opt_exit_codes[0];
