/* What model_writer.c and model_writer_metadata.c share. Private to them. */
#pragma once

#include "format/model_layout.h"
#include "format/model_writer.h"
#include "format/write_file.h"

/* Bytes that grow; `data` is NULL while there are none. */
struct writer_bytes {
    uint8_t *data;
    uint64_t used, room;
};

struct model_writer {
    struct write_file file;
    enum compress compress;
    struct writer_bytes items;     /* model_writer_metadata.c */
    struct writer_bytes tensors;   /* struct layout_tensor */
    struct writer_bytes names;     /* the index's pool */
    struct writer_bytes directory; /* struct layout_expert_layer */
    struct writer_bytes sections;  /* struct layout_section */
    struct writer_bytes tokenizer, chat_template;
    bool has_tokenizer;
};

/* False if memory is out; the bytes are as they were then. */
bool writer_bytes_append(struct writer_bytes *bytes, const void *data, uint64_t n);

/* The sentence; returns false. */
bool model_writer_out_of_memory(const struct model_writer *w, struct error *err);

/* Writes a section that is a list: head, records, pool. */
bool model_writer_list(struct model_writer *w, enum layout_kind kind,
                       const struct writer_bytes *records, uint64_t record_bytes,
                       const struct writer_bytes *pool, struct error *err);

/* Writes the section of the keys that were given (w->items). */
bool model_writer_metadata(struct model_writer *w, struct error *err);
/* Frees what the items own, not their list. */
void model_writer_free_metadata(struct model_writer *w);
