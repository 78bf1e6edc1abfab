// config.json to hyper-parameters.
#include "fuzz.h"
#include "hparams.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = copy_text(data, size);
    hparams hp;
    tern_error err = {0};
    tern_status status = hparams_from_config(text, size, &hp, &err);
    require_answer(status, &err);
    if (status == TERN_OK) REQUIRE(hparams_validate(&hp, NULL) == TERN_OK);
    free(text);
    return 0;
}
