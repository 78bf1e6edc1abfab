// What a device offers beyond OpenCL 1.2, by its own word. Whether the chosen paths work is tried when the device is
// opened.
#include <stdio.h>
#include <string.h>

#include "opencl.h"

#ifndef CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV
#define CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV 0x4000
#define CL_DEVICE_COMPUTE_CAPABILITY_MINOR_NV 0x4001
#endif
#ifndef CL_DEVICE_INTEGER_DOT_PRODUCT_ACCELERATION_PROPERTIES_4x8BIT_PACKED_KHR
#define CL_DEVICE_INTEGER_DOT_PRODUCT_ACCELERATION_PROPERTIES_4x8BIT_PACKED_KHR 0x1075
#endif

#define TEXT_BYTES 4096

// What a query gave, `n` bytes of it, as text that can be shown.
static void finish_text(char text[TEXT_BYTES], cl_int code, size_t n, char *out, size_t n_bytes)
{
    text[code != CL_SUCCESS ? 0 : n < TEXT_BYTES ? n : TEXT_BYTES - 1] = 0;
    snprintf(out, n_bytes, "%s", text);
    error_make_printable(out);
}

void opencl_device_text(cl_device_id id, cl_device_info what, char *out, size_t n_bytes)
{
    char text[TEXT_BYTES];
    size_t n = 0;
    cl_int code = cl.clGetDeviceInfo(id, what, sizeof text - 1, text, &n);
    finish_text(text, code, n, out, n_bytes);
}

void opencl_platform_text(cl_platform_id id, cl_platform_info what, char *out, size_t n_bytes)
{
    char text[TEXT_BYTES];
    size_t n = 0;
    cl_int code = cl.clGetPlatformInfo(id, what, sizeof text - 1, text, &n);
    finish_text(text, code, n, out, n_bytes);
}

bool opencl_has_extension(cl_device_id id, const char *name)
{
    char text[TEXT_BYTES];
    opencl_device_text(id, CL_DEVICE_EXTENSIONS, text, sizeof text);
    size_t n = strlen(name);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at += n)
        if ((at == text || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0)) return true;
    return false;
}

// The six flags of accelerated packed dots; a device may offer the extension and emulate it slower than plain code.
static bool has_fast_khr_dot(cl_device_id id)
{
    cl_bool flags[6] = {0};
    if (!opencl_has_extension(id, "cl_khr_integer_dot_product") ||
        cl.clGetDeviceInfo(id, CL_DEVICE_INTEGER_DOT_PRODUCT_ACCELERATION_PROPERTIES_4x8BIT_PACKED_KHR, sizeof flags,
                           flags, NULL) != CL_SUCCESS)
        return false;
    return flags[0] && flags[1] && flags[2]; // signed, unsigned, mixed; the others saturate and are not used
}

static bool is_nvidia_dp4a(cl_device_id id)
{
    cl_uint major = 0, minor = 0;
    if (!opencl_has_extension(id, "cl_nv_device_attribute_query") ||
        cl.clGetDeviceInfo(id, CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV, sizeof major, &major, NULL) != CL_SUCCESS ||
        cl.clGetDeviceInfo(id, CL_DEVICE_COMPUTE_CAPABILITY_MINOR_NV, sizeof minor, &minor, NULL) != CL_SUCCESS)
        return false;
    return major > 6 || (major == 6 && minor >= 1);
}

// gfx906, 908, 90a, 940.. and RDNA1/2 have the signed dot; gfx11 and later the mixed one.
static opencl_dot amd_dot(cl_device_id id)
{
    char name[64];
    opencl_device_text(id, CL_DEVICE_NAME, name, sizeof name);
    if (strncmp(name, "gfx11", 5) == 0 || strncmp(name, "gfx12", 5) == 0) return OPENCL_DOT_AMD_MIXED;
    static const char *const with_signed[] = {"gfx906", "gfx908", "gfx90a", "gfx94", "gfx1011", "gfx1012", "gfx103"};
    for (size_t i = 0; i < sizeof with_signed / sizeof with_signed[0]; i++)
        if (strncmp(name, with_signed[i], strlen(with_signed[i])) == 0) return OPENCL_DOT_AMD_SIGNED;
    return OPENCL_DOT_PLAIN;
}

static opencl_dot choose_dot(cl_device_id id, bool is_gpu)
{
    if (!is_gpu) return OPENCL_DOT_VECTOR;
    if (has_fast_khr_dot(id)) return OPENCL_DOT_KHR;
    if (is_nvidia_dp4a(id)) return OPENCL_DOT_NVIDIA;
    if (opencl_has_extension(id, "cl_amd_device_attribute_query")) return amd_dot(id);
    if (opencl_has_extension(id, "cl_arm_integer_dot_product_accumulate_int8")) return OPENCL_DOT_ARM;
    if (opencl_has_extension(id, "cl_qcom_dot_product8")) return OPENCL_DOT_QUALCOMM;
    return OPENCL_DOT_PLAIN;
}

void opencl_traits_query(const opencl_device *from, opencl_traits *out)
{
    cl_device_fp_config config = 0;
    cl.clGetDeviceInfo(from->id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config, &config, NULL);
    *out = (opencl_traits){
        .dot = choose_dot(from->id, from->is_gpu),
        .subgroups = opencl_has_extension(from->id, "cl_khr_subgroup_shuffle") ? OPENCL_SUBGROUPS_KHR
                                                                               : OPENCL_SUBGROUPS_NONE,
        .has_fp16 = !from->is_gpu || opencl_has_extension(from->id, "cl_khr_fp16"),
        .has_exact_division = (config & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0,
        .has_command_buffer = opencl_has_extension(from->id, "cl_khr_command_buffer"),
        .is_intel_large = opencl_has_extension(from->id, "cl_intel_unified_shared_memory") && from->is_gpu,
    };
}

static const struct {
    const char *option, *name;
} dots[] = {
    [OPENCL_DOT_PLAIN] = {"", "plain code"},
    [OPENCL_DOT_VECTOR] = {" -DTERN_DOT_VECTOR", "plain code for vectors"},
    [OPENCL_DOT_KHR] = {" -DTERN_DOT_KHR", "cl_khr_integer_dot_product"},
    [OPENCL_DOT_AMD_MIXED] = {" -DTERN_DOT_AMD_MIXED", "AMD sudot4"},
    [OPENCL_DOT_AMD_SIGNED] = {" -DTERN_DOT_AMD_SIGNED -DTERN_DOT_SIGNED", "AMD sdot4"},
    [OPENCL_DOT_NVIDIA] = {" -DTERN_DOT_NVIDIA", "NVIDIA dp4a"},
    [OPENCL_DOT_ARM] = {" -DTERN_DOT_ARM -DTERN_DOT_SIGNED", "ARM"},
    [OPENCL_DOT_QUALCOMM] = {" -DTERN_DOT_QUALCOMM", "Qualcomm"},
    [OPENCL_DOT_SIGNED] = {" -DTERN_DOT_SIGNED", "plain code, signed"},
};

static const char *const subgroups[] = {
    [OPENCL_SUBGROUPS_NONE] = "",
    [OPENCL_SUBGROUPS_KHR] = " -DTERN_SUBGROUPS",
    [OPENCL_SUBGROUPS_EMULATED] = " -DTERN_SUBGROUPS -DTERN_SUBGROUPS_EMULATED",
};

// The language version that has what the traits need: everything runs as OpenCL C 1.2 except functions of extensions
// that are younger than 3.0.
void opencl_traits_options(const opencl_traits *traits, char *out, size_t n_bytes)
{
    bool is_young = traits->dot == OPENCL_DOT_KHR || traits->subgroups == OPENCL_SUBGROUPS_KHR;
    snprintf(out, n_bytes, "-cl-std=%s%s%s%s%s%s", is_young ? "CL3.0" : "CL1.2",
             traits->has_exact_division ? " -cl-fp32-correctly-rounded-divide-sqrt" : " -DSCALAR_SOFT_DIVIDE",
             dots[traits->dot].option, subgroups[traits->subgroups], traits->has_fp16 ? " -DTERN_FP16" : "",
             traits->is_intel_large ? " -cl-intel-greater-than-4GB-buffer-required" : "");
}

void opencl_traits_describe(const opencl_traits *traits, char *out, size_t n_bytes)
{
    snprintf(out, n_bytes, "4x8 dot: %s%s%s%s%s", dots[traits->dot].name,
             traits->subgroups == OPENCL_SUBGROUPS_KHR ? ", subgroup shuffles" : "",
             traits->has_fp16 ? ", half loads" : "", traits->has_command_buffer ? ", command buffers" : "",
             traits->has_exact_division ? "" : ", division in software");
}
