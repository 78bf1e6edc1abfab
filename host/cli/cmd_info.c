// tern info: one screen about a model file.
#include "cli.h"
#include "json_out.h"

// A class of weights: how many, and the bytes they take in the file.
typedef struct weight_class {
    const char *name;
    uint64_t n_params, n_bytes;
} weight_class;

enum { N_CLASSES = 5 };

static void list_classes(const tern_model_info *info, weight_class out[N_CLASSES])
{
    out[0] = (weight_class){"ternary", info->n_params_ternary, info->bytes_ternary};
    out[1] = (weight_class){"embedding", info->n_params_embedding, info->bytes_embedding};
    out[2] = (weight_class){"head", info->n_params_head, info->bytes_head};
    out[3] = (weight_class){"dense", info->n_params_dense, info->bytes_dense};
    out[4] = (weight_class){"norms", info->n_params_norms, info->bytes_norms};
}

static double bits_per_weight(uint64_t n_bytes, uint64_t n_params)
{
    return n_params > 0 ? 8 * (double)n_bytes / (double)n_params : 0;
}

static void print_screen(const char *path, const tern_model_info *info, double zero_share)
{
    weight_class classes[N_CLASSES];
    list_classes(info, classes);
    if (info->is_synthetic)
        printf("SYNTHETIC WEIGHTS: random numbers of a real geometry; only speed and memory mean anything\n\n");
    printf("model         %s (%s)\n", info->name, path);
    printf("architecture  %s, %s\n", info->architecture, info->container);
    printf("geometry      %u layers, width %u, feed-forward %u, %u heads of %u (%u for keys and values)\n",
           info->n_layers, info->n_embd, info->n_ff, info->n_heads, info->head_dim, info->n_kv_heads);
    printf("context       %u positions in training\n", info->n_ctx_train);
    printf("vocabulary    %u; %s\n", info->n_vocab, info->tokenizer[0] ? info->tokenizer : "no tokenizer");
    printf("rope          %s\n", info->rope);
    printf("graph         %s%s%s, norm epsilon %g, %s head\n", info->activation,
           info->has_sub_norm ? ", sub-norms" : "", info->has_qk_norm ? ", q and k norms" : "", (double)info->norm_eps,
           info->is_tied ? "tied" : "own");
    printf("activations   %s (%s)\n", info->act_quant, info->act_quant_reason);
    printf("formats       %s\n", info->formats);
    printf("parameters    %.3f million, %.1f %% ternary\n", (double)info->n_params * 1e-6,
           info->n_params ? 100 * (double)info->n_params_ternary / (double)info->n_params : 0);
    if (info->is_ternary) printf("zeros         %.2f %% of the ternary weights\n", 100 * zero_share);
    printf("file          %s, %.3f bits per weight\n\n", cli_bytes(info->bytes_file).text,
           bits_per_weight(info->bytes_file, info->n_params));
    printf("| class | weights | bytes | bits per weight |\n| --- | ---: | ---: | ---: |\n");
    for (int i = 0; i < N_CLASSES; i++)
        if (classes[i].n_bytes > 0)
            printf("| %s | %llu | %llu | %.3f |\n", classes[i].name, (unsigned long long)classes[i].n_params,
                   (unsigned long long)classes[i].n_bytes, bits_per_weight(classes[i].n_bytes, classes[i].n_params));
}

static int print_json(const char *path, const tern_model_info *info, double zero_share)
{
    weight_class classes[N_CLASSES];
    list_classes(info, classes);
    json_t *list = json_array();
    for (int i = 0; i < N_CLASSES; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:f}", "class", classes[i].name, "n_params",
                                              json_out_count(classes[i].n_params), "bytes",
                                              json_out_count(classes[i].n_bytes), "bits_per_weight",
                                              bits_per_weight(classes[i].n_bytes, classes[i].n_params)));
    json_t *facts = json_pack("{s:o, s:o, s:o, s:s, s:b, s:b, s:b, s:b, s:b}", "path", json_out_text(path), "name",
                              json_out_text(info->name), "architecture", json_out_text(info->architecture), "container",
                              info->container, "is_synthetic", info->is_synthetic, "is_ternary", info->is_ternary,
                              "is_tied", info->is_tied, "has_sub_norm", info->has_sub_norm, "has_qk_norm",
                              info->has_qk_norm);
    json_t *geometry = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "n_layers", (json_int_t)info->n_layers, "n_embd",
        (json_int_t)info->n_embd, "n_ff", (json_int_t)info->n_ff, "n_heads", (json_int_t)info->n_heads, "n_kv_heads",
        (json_int_t)info->n_kv_heads, "head_dim", (json_int_t)info->head_dim, "n_vocab", (json_int_t)info->n_vocab,
        "n_ctx_train", (json_int_t)info->n_ctx_train, "norm_eps", (double)info->norm_eps);
    json_t *sizes = json_pack(
        "{s:o, s:o, s:o, s:f, s:f, s:o}", "n_params", json_out_count(info->n_params), "n_params_ternary",
        json_out_count(info->n_params_ternary), "bytes_file", json_out_count(info->bytes_file), "bits_per_weight",
        bits_per_weight(info->bytes_file, info->n_params), "zero_share", zero_share, "classes", list);
    json_t *texts = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "activation", info->activation, "act_quant",
                              info->act_quant, "act_quant_reason", json_out_text(info->act_quant_reason), "rope",
                              json_out_text(info->rope), "formats", json_out_text(info->formats), "tokenizer",
                              json_out_text(info->tokenizer));
    bool is_complete = facts && geometry && sizes && texts && json_object_update(facts, geometry) == 0 &&
                       json_object_update(facts, texts) == 0 && json_object_update(facts, sizes) == 0;
    json_decref(geometry);
    json_decref(sizes);
    json_decref(texts);
    if (is_complete) return json_out_print(facts);
    json_decref(facts);
    return json_out_print(NULL);
}

int cmd_info(const opt_values *options)
{
    cli_session s = {0};
    tern_error err = {0};
    tern_model_info info;
    double zero_share = 0;
    const char *path;
    tern_status status = cli_model_path(options, &path, &err);
    if (status == TERN_OK) status = cli_model_open(&s, options, path, &err);
    if (status == TERN_OK) {
        tern_model_get_info(s.model, &info);
        error_make_printable(info.name);
        error_make_printable(info.formats);
        error_make_printable(info.tokenizer);
    }
    if (status == TERN_OK) status = tern_model_zero_share(s.model, &zero_share, &err);
    int code = EXIT_CODE_OK;
    if (status != TERN_OK)
        code = cli_fail(&err, NULL);
    else if (cli_wants_json(options))
        code = print_json(path, &info, zero_share);
    else
        print_screen(path, &info, zero_share);
    cli_session_close(&s);
    return cli_finish(code);
}
