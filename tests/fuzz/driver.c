// Runs a fuzz target without libFuzzer: every file given (folders: the files in them), then as many pseudo-random
// mutations of them as asked for. The same arguments always give the same inputs.
//     usage: fuzz_NAME [-runs=N] [-seed=S] FILE_OR_FOLDER...
// A child process does the work; if it dies, the parent writes the input it died of to crash-NAME and ends with 1.
#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "rng.h"

#define MAX_INPUT_BYTES ((size_t)1 << 17)
#define MAX_SEED_FILES  4096u

typedef struct input {
    uint8_t *data;
    size_t n;
} input;

static input seeds[MAX_SEED_FILES];
static size_t n_seeds;

// Shared with the parent.
static struct current {
    size_t n;
    uint64_t n_runs;
    uint8_t data[MAX_INPUT_BYTES];
} * current;

static uint64_t rng_seed = 1, rng_count;

static size_t below(size_t n) { return n == 0 ? 0 : (size_t)(rng_u64(rng_seed, rng_count++) % n); }

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void add_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || n_seeds == MAX_SEED_FILES) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(2);
    }
    uint8_t *data = malloc(MAX_INPUT_BYTES);
    REQUIRE(data != NULL);
    size_t n = fread(data, 1, MAX_INPUT_BYTES, f);
    fclose(f);
    seeds[n_seeds++] = (input){data, n};
}

// In the order of their names, so that every machine runs the same inputs.
static void add_folder(const char *path, DIR *folder)
{
    char *names[MAX_SEED_FILES];
    size_t n = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL && n < MAX_SEED_FILES;)
        if (entry->d_name[0] != '.') names[n++] = strdup(entry->d_name);
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        add_file(file);
        free(names[i]);
    }
}

static void copy_range(size_t to, const uint8_t *from, size_t n) // inserts; what would be too long is left out
{
    if (n > MAX_INPUT_BYTES - current->n) n = MAX_INPUT_BYTES - current->n;
    memmove(current->data + to + n, current->data + to, current->n - to);
    if (n > 0) memcpy(current->data + to, from, n);
    current->n += n;
}

static void mutate_once(void)
{
    static const char characters[] = "\"{}[]:,0123456789-e.\\ \n\x01\x02\x7f\x80\xc3\xff";
    size_t n = current->n, at = below(n), width = (size_t)1 << below(4);
    const input *other = &seeds[below(n_seeds)];
    uint8_t piece[64];
    uint64_t edge;
    switch (below(8)) {
    case 0:
        if (n > 0) current->data[at] ^= (uint8_t)(1u << below(8));
        return;
    case 1:
        if (n > 0) current->data[at] = (uint8_t)below(256);
        return;
    case 2: // a power of two or a neighbour of one
        edge = ((uint64_t)1 << below(64)) + below(3) - 1;
        if (n >= width) memcpy(current->data + below(n - width + 1), &edge, width);
        return;
    case 3:
        if (n > 0) current->data[at] = (uint8_t)characters[below(sizeof characters - 1)];
        return;
    case 4: { // a range less
        size_t count = below(below(4) == 0 ? n : 16);
        if (count > n - at) count = n - at;
        memmove(current->data + at, current->data + at + count, n - at - count);
        current->n -= count;
        return;
    }
    case 5: { // a range of the same input again
        size_t from = below(n), count = below(sizeof piece);
        if (count > n - from) count = n - from;
        memcpy(piece, current->data + from, count);
        copy_range(at, piece, count);
        return;
    }
    case 6: { // a range of another seed
        size_t from = below(other->n), count = below(256);
        if (count > other->n - from) count = other->n - from;
        copy_range(at, other->data + from, count);
        return;
    }
    default: // the beginning of this, the end of another
        if (below(4) != 0) return;
        current->n = at;
        copy_range(at, other->data + (at < other->n ? at : other->n), at < other->n ? other->n - at : 0);
    }
}

static void run_one(void)
{
    uint8_t *data = malloc(current->n + (current->n == 0)); // its own size, so that reads over the end are seen
    REQUIRE(data != NULL);
    if (current->n > 0) memcpy(data, current->data, current->n);
    LLVMFuzzerTestOneInput(data, current->n);
    current->n_runs++;
    free(data);
}

static void take_seed(const input *seed)
{
    current->n = seed->n;
    if (seed->n > 0) memcpy(current->data, seed->data, seed->n);
}

static int run_all(uint64_t runs)
{
    for (size_t i = 0; i < n_seeds; i++) {
        take_seed(&seeds[i]);
        run_one();
    }
    for (uint64_t i = 0; i < runs; i++) {
        take_seed(&seeds[below(n_seeds)]);
        for (size_t k = 1 + below(4); k > 0; k--) mutate_once();
        run_one();
    }
    for (size_t i = 0; i < n_seeds; i++) free(seeds[i].data);
    n_seeds = 0;
    return 0;
}

static int report(const char *program, int status)
{
    const char *name = strrchr(program, '/') != NULL ? strrchr(program, '/') + 1 : program;
    printf("%s: %llu inputs\n", name, (unsigned long long)current->n_runs);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    char path[300];
    snprintf(path, sizeof path, "crash-%.200s", name);
    FILE *f = fopen(path, "wb");
    if (f != NULL) {
        fwrite(current->data, 1, current->n, f);
        fclose(f);
    }
    fprintf(stderr, "%s: the input of %zu bytes that ended it is in %s\n", name, current->n, path);
    return 1;
}

int main(int argc, char **argv)
{
    uint64_t runs = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder;
        if (strncmp(argv[i], "-runs=", 6) == 0)
            runs = strtoull(argv[i] + 6, NULL, 10);
        else if (strncmp(argv[i], "-seed=", 6) == 0)
            rng_seed = strtoull(argv[i] + 6, NULL, 10);
        else if ((folder = opendir(argv[i])) != NULL) {
            add_folder(argv[i], folder);
            closedir(folder);
        } else {
            add_file(argv[i]);
        }
    }
    if (n_seeds == 0) {
        fprintf(stderr, "usage: %s [-runs=N] [-seed=S] FILE_OR_FOLDER...\n", argv[0]);
        return 2;
    }
    current = mmap(NULL, sizeof *current, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (current == MAP_FAILED) return 2;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) exit(run_all(runs));
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child) return 2;
    for (size_t i = 0; i < n_seeds; i++) free(seeds[i].data);
    return report(argv[0], status);
}
