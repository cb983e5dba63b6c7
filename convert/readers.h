/* readers.h: every container format; container.c asks each how sure it is. */
#ifndef NSTATE_CONVERT_READERS_H
#define NSTATE_CONVERT_READERS_H

#include "convert/container.h"

extern const struct container_ops reader_snapshot; /* snapshot_read.c */
extern const struct container_ops reader_blob;     /* blob.c */
extern const struct container_ops reader_qemu;     /* qemu/reader.c */
extern const struct container_ops reader_libvirt;  /* qemu/libvirt.c */
extern const struct container_ops reader_qcow2;    /* qemu/qcow2.c */
extern const struct container_ops reader_elf;      /* dump/elf.c */
extern const struct container_ops reader_kdump;    /* dump/kdump.c */
extern const struct container_ops reader_lime;     /* dump/raw.c */
extern const struct container_ops reader_raw;      /* dump/raw.c */
extern const struct container_ops reader_refused;  /* vmm/refuse.c */
extern const struct container_ops reader_chv;      /* vmm/chv.c */
extern const struct container_ops reader_crosvm;   /* vmm/crosvm.c */

#endif
