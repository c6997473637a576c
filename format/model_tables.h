/* What model_file_open found: pointers into the mapping, checked. Private to format/model_*.c. */
#pragma once

#include "format/model_file.h"
#include "format/model_layout.h"

struct model_file_tables {
    const struct layout_header *header;
    const struct layout_section *sections;
    uint32_t n_sections;
    const struct layout_section *by_kind[LAYOUT_KINDS]; /* NULL where the file has none */

    const struct layout_metadata *metadata;
    uint64_t n_metadata;
    const uint8_t *metadata_pool;

    const struct layout_tensor *tensors;
    uint64_t n_tensors;
    const char *names;
    uint32_t *by_role; /* record numbers of all but ROLE_EXPERT, by (role, layer) */
    uint64_t n_by_role;

    const struct layout_expert_layer *expert_layers;
    uint32_t n_expert_layers;
};

/* The pieces of opening: each checks one section that lies inside the file and whose checksum is
 * right, and fills in its part of the tables. */
bool model_metadata_open(struct model_file *file, struct error *err);
bool model_index_open(struct model_file *file, struct error *err);
bool model_directory_open(struct model_file *file, struct error *err);

/* The head of a section that is a list: records follow it, and a pool fills the rest exactly.
 * NULL (and a sentence) if the lengths do not fit. */
const struct layout_list *model_file_list(const struct model_file *file, enum layout_kind kind,
                                          uint64_t record_bytes, uint64_t most, struct error *err);

/* Name of a section kind; "unknown" for other numbers. */
const char *model_file_kind_name(uint32_t kind);
