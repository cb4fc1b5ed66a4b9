// SPDX-License-Identifier: BSD-3-Clause
/*
 * Unpacking a kernel: xz, zstd and the old format of lz4, which are what
 * distributions use. The decompressor's code in the image is not run.
 */
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "payload.h"

#define OUT_BYTES	(1U << 20)
#define LZ4_BLOCK_BYTES (8U << 20) /* of an unpacked block, at most */
#define XZ_MEMORY	(128ULL << 20)
#define SIZE_BYTES	4 /* after the payload: how long it is unpacked */

/* ---- Where it goes ----------------------------------------------------- */

struct sink {
	int fd;
	uint64_t at;
};

static bool is_zero(const uint8_t *at, size_t len)
{
	return at[0] == 0 && !memcmp(at, at + 1, len - 1);
}

static int write_all(int fd, const uint8_t *from, size_t len, uint64_t at)
{
	while (len) {
		ssize_t done = pwrite(fd, from, len, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		from += done;
		at += (uint64_t)done;
		len -= (size_t)done;
	}
	return 0;
}

/* Page by page of the file. */
static int sink_put(struct sink *sink, const uint8_t *from, size_t len)
{
	if (len > BOOT_UNPACKED_MAX - sink->at)
		return -EINVAL;
	while (len) {
		size_t part = BOOT_PAGE_SIZE - sink->at % BOOT_PAGE_SIZE;
		int ret = 0;

		if (part > len)
			part = len;
		if (!is_zero(from, part))
			ret = write_all(sink->fd, from, part, sink->at);
		if (ret)
			return ret;
		from += part;
		len -= part;
		sink->at += part;
	}
	return 0;
}

/* ---- Formats ----------------------------------------------------------- */

static int unpack_xz(const uint8_t *in, size_t len, struct sink *sink,
		     uint8_t *out)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_ret state = lzma_stream_decoder(&stream, XZ_MEMORY, 0);
	int ret = 0;

	stream.next_in = in;
	stream.avail_in = len;
	while (state == LZMA_OK && !ret) {
		stream.next_out = out;
		stream.avail_out = OUT_BYTES;
		state = lzma_code(&stream, LZMA_FINISH);
		if (state == LZMA_OK || state == LZMA_STREAM_END)
			ret = sink_put(sink, out, OUT_BYTES - stream.avail_out);
	}
	lzma_end(&stream);
	return ret ? ret : state == LZMA_STREAM_END ? 0 : -EINVAL;
}

static int unpack_zstd(const uint8_t *in, size_t len, struct sink *sink,
		       uint8_t *out)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	ZSTD_inBuffer from = {.src = in, .size = len};
	size_t state = 1;
	int ret = stream ? 0 : -ENOMEM;

	/* 0: the frame is complete. */
	while (!ret && state != 0) {
		ZSTD_outBuffer to = {.dst = out, .size = OUT_BYTES};
		size_t before = from.pos;

		state = ZSTD_decompressStream(stream, &to, &from);
		if (ZSTD_isError(state) || (to.pos == 0 && from.pos == before))
			ret = -EINVAL;
		else
			ret = sink_put(sink, out, to.pos);
	}
	ZSTD_freeDStream(stream);
	return ret;
}

/* A number of 4 bytes, then blocks, each after its length. */
static int unpack_lz4(const uint8_t *in, size_t len, struct sink *sink,
		      uint8_t *out)
{
	size_t at = SIZE_BYTES;

	while (len - at >= SIZE_BYTES) {
		uint32_t block;
		int got, ret;

		memcpy(&block, in + at, sizeof(block));
		at += sizeof(block);
		if (block > len - at)
			return -EINVAL;
		got = LZ4_decompress_safe((const char *)in + at, (char *)out,
					  (int)block, LZ4_BLOCK_BYTES);
		if (got < 0)
			return -EINVAL;
		ret = sink_put(sink, out, (size_t)got);
		if (ret)
			return ret;
		at += block;
	}
	return at == len ? 0 : -EINVAL;
}

static const struct payload_format {
	uint8_t magic[6];
	size_t magic_len;
	size_t out_bytes;
	/* out is of out_bytes, for use in between. */
	int (*unpack)(const uint8_t *in, size_t len, struct sink *sink,
		      uint8_t *out);
} formats[] = {
	{"\xfd"
	 "7zXZ",
	 6, OUT_BYTES, unpack_xz},
	{"\x28\xb5\x2f\xfd", 4, OUT_BYTES, unpack_zstd},
	{"\x02\x21\x4c\x18", 4, LZ4_BLOCK_BYTES, unpack_lz4},
};

static const struct payload_format *format_of(const uint8_t *magic)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (!memcmp(magic, formats[i].magic, formats[i].magic_len))
			return &formats[i];
	}
	return NULL;
}

/* ---- Where it is ------------------------------------------------------- */

/* Where the payload stands in the file, without the size after it; false if
 * the header tells of none. */
static bool find_payload(const struct boot_image *image, uint64_t *offset,
			 size_t *len)
{
	const struct boot_segment *code = &image->segments[0];
	const struct setup_header *setup = &image->setup;

	if (setup->payload_length <= SIZE_BYTES + sizeof(formats[0].magic) ||
	    setup->payload_offset > code->size ||
	    setup->payload_length > code->size - setup->payload_offset)
		return false;
	*offset = code->offset + setup->payload_offset;
	*len = setup->payload_length - SIZE_BYTES;
	return true;
}

bool payload_is_known(const struct boot_image *image)
{
	uint8_t magic[sizeof(formats[0].magic)];
	uint64_t offset;
	size_t len;

	return find_payload(image, &offset, &len) &&
	       !boot_file_read(&image->file, offset, magic, sizeof(magic),
			       NULL) &&
	       format_of(magic);
}

int payload_unpack(const struct boot_image *image, int to)
{
	struct sink sink = {.fd = to};
	const struct payload_format *format;
	uint8_t *in = NULL, *out = NULL;
	uint64_t offset;
	size_t len;
	int ret = -EINVAL;

	if (!find_payload(image, &offset, &len) || len > BOOT_UNPACKED_MAX)
		return ret;
	in = malloc(len);
	ret = in ? boot_file_read(&image->file, offset, in, len, NULL)
		 : -ENOMEM;
	if (ret)
		goto out;
	format = format_of(in);
	out = format ? malloc(format->out_bytes) : NULL;
	if (out)
		ret = format->unpack(in, len, &sink, out);
	else
		ret = format ? -ENOMEM : -EINVAL;
	/* The end may be zeros. */
	if (!ret && ftruncate(to, (off_t)sink.at) < 0)
		ret = -errno;
out:
	free(out);
	free(in);
	return ret;
}
