/* codecs.h: the codecs that codec.c's table lists; the shape is struct
 * codec's. */
#ifndef NSTATE_CONVERT_CODEC_CODECS_H
#define NSTATE_CONVERT_CODEC_CODECS_H

#include "convert/codec.h"
#include "convert/codec/coding.h"

#define DECLARE(name) \
	enum nst_status name(struct coding *k, struct nst_error *e)
DECLARE(gzip_decode);
DECLARE(gzip_encode);
DECLARE(xz_decode);
DECLARE(xz_encode);
DECLARE(zstd_decode);
DECLARE(zstd_encode);
DECLARE(bzip2_decode);
DECLARE(bzip2_encode);
DECLARE(lz4_decode);
DECLARE(lz4_encode);
DECLARE(lz4_legacy_decode);
DECLARE(lzop_decode);
DECLARE(lzop_encode);
#undef DECLARE

#endif
