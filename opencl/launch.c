// One kernel call: arguments in order, then the grid.
#include <stdio.h>

#include "opencl.h"

static void set(launch *l, size_t n_bytes, const void *value)
{
    if (l->code != CL_SUCCESS) return;
    l->code = cl.clSetKernelArg(l->kernel, l->n_args++, n_bytes, value);
}

void launch_mem(launch *l, cl_mem mem) { set(l, sizeof mem, &mem); }
void launch_u32(launch *l, uint32_t x) { set(l, sizeof x, &x); }
void launch_i32(launch *l, int32_t x) { set(l, sizeof x, &x); }
void launch_u64(launch *l, uint64_t x) { set(l, sizeof x, &x); }
void launch_f32(launch *l, float x) { set(l, sizeof x, &x); }
void launch_local(launch *l, size_t n_bytes) { set(l, n_bytes, NULL); }

void launch_at(launch *l, view v, size_t element_bytes)
{
    launch_mem(l, v.buffer->mem);
    launch_u64(l, v.offset / element_bytes);
}

void launch_flag(launch *l, const op *o)
{
    if (o->flag.buffer != NULL) {
        launch_at(l, o->flag, sizeof(uint32_t));
    } else { // ops that cannot raise it here may come without
        launch_mem(l, l->device->scratch);
        launch_u64(l, 0);
    }
    launch_u32(l, o->place);
}

tern_status launch_end(launch *l, size_t groups_x, size_t groups_y, size_t groups_z, size_t group, tern_error *err)
{
    const size_t global[3] = {groups_x * group, groups_y, groups_z}, local[3] = {group, 1, 1};
    device *d = l->device;
    char what[160];
    if (l->code == CL_SUCCESS)
        l->code = d->recording != NULL
                      ? opencl_graph_add_kernel(d->recording, l->kernel, global, local)
                      : cl.clEnqueueNDRangeKernel(d->queue, l->kernel, 3, NULL, global, local, 0, NULL, NULL);
    if (l->code == CL_SUCCESS) return TERN_OK;
    snprintf(what, sizeof what, "kernel %s of %zu x %zu x %zu work-groups of %zu", l->name, groups_x, groups_y,
             groups_z, group);
    return opencl_error(d, l->code, TERN_KERNEL_LAUNCH, what, err);
}
