/* Values of the template interpreter: making them, containers, truth, equality, order, membership.
 * They behave as Python's do; tests compare with Jinja. Access to their parts is in
 * chat_template_access.c.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/text/chat_template_internal.h"

/* ---- making ------------------------------------------------------------------------------- */

struct template_value template_undefined(const struct template_node *node)
{
    return (struct template_value){.kind = VALUE_UNDEFINED, .node = node};
}

struct template_value template_none(void)
{
    return (struct template_value){.kind = VALUE_NONE};
}

struct template_value template_bool(bool boolean)
{
    return (struct template_value){.kind = VALUE_BOOL, .boolean = boolean};
}

struct template_value template_integer(int64_t integer)
{
    return (struct template_value){.kind = VALUE_INTEGER, .integer = integer};
}

struct template_value template_float(double number)
{
    return (struct template_value){.kind = VALUE_FLOAT, .number = number};
}

struct template_value template_from_string(const struct template_string *string)
{
    return (struct template_value){.kind = VALUE_STRING, .string = string};
}

struct template_value template_from_list(enum template_kind kind, struct template_list *list)
{
    assert(kind >= VALUE_LIST && kind <= VALUE_RANGE);
    return (struct template_value){.kind = kind, .list = list};
}

struct template_value template_from_dict(struct template_dict *dict)
{
    return (struct template_value){.kind = VALUE_DICT, .dict = dict};
}

static struct template_value string_from_json(struct template_context *context, const char *text,
                                              size_t bytes, bool copy)
{
    if (copy) {
        char *data = template_allocate(context, bytes + 1);
        memcpy(data, text, bytes);
        text = data;
    }
    return template_from_string(template_string_view(context, text, bytes));
}

static struct template_value dict_from_json(struct template_context *context, const json_t *json,
                                            bool copy)
{
    struct template_dict *dict = template_dict_new(context);
    json_t *object = (json_t *)json; /* jansson iterates without changing it */
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        const char *key = json_object_iter_key(i);
        struct template_value value = template_from_json(context, json_object_iter_value(i), copy);
        template_dict_set(context, dict, string_from_json(context, key, strlen(key), copy), value);
    }
    return template_from_dict(dict);
}

static struct template_value list_from_json(struct template_context *context, const json_t *json,
                                            bool copy)
{
    size_t n = json_array_size(json);
    struct template_list *list = template_list_new(context, n);
    for (size_t i = 0; i < n; i++) {
        template_list_add(context, list,
                          template_from_json(context, json_array_get(json, i), copy));
    }
    return template_from_list(VALUE_LIST, list);
}

struct template_value template_from_json(struct template_context *context, const json_t *json,
                                         bool copy)
{
    template_enter(context);
    struct template_value value = template_none();
    if (json_is_object(json)) {
        value = dict_from_json(context, json, copy);
    } else if (json_is_array(json)) {
        value = list_from_json(context, json, copy);
    } else if (json_is_string(json)) {
        value = string_from_json(context, json_string_value(json), json_string_length(json), copy);
    } else if (json_is_integer(json)) {
        value = template_integer(json_integer_value(json));
    } else if (json_is_real(json)) {
        value = template_float(json_real_value(json));
    } else if (json_is_boolean(json)) {
        value = template_bool(json_is_true(json));
    }
    template_leave(context);
    return value;
}

/* ---- lists -------------------------------------------------------------------------------- */

static void *allocate_items(struct template_context *context, size_t count, size_t size)
{
    if (count > TEMPLATE_MAX_MEMORY / size) {
        template_fail(context, "a list of %zu items is too long", count);
    }
    return template_allocate(context, count * size);
}

struct template_list *template_list_new(struct template_context *context, size_t capacity)
{
    struct template_list *list = template_allocate(context, sizeof(*list));
    *list = (struct template_list){.capacity = capacity};
    if (capacity > 0) {
        list->items = allocate_items(context, capacity, sizeof(*list->items));
    }
    return list;
}

void template_list_add(struct template_context *context, struct template_list *list,
                       struct template_value value)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4;
        struct template_value *items = allocate_items(context, capacity, sizeof(*items));
        if (list->count > 0) {
            memcpy(items, list->items, list->count * sizeof(*items));
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = value;
}

struct template_value template_pair(struct template_context *context, struct template_value a,
                                    struct template_value b)
{
    struct template_list *pair = template_list_new(context, 2);
    template_list_add(context, pair, a);
    template_list_add(context, pair, b);
    return template_from_list(VALUE_TUPLE, pair);
}

/* ---- dicts -------------------------------------------------------------------------------- */

#define SMALL_DICT 8

static uint64_t hash_bits(uint64_t bits)
{
    bits = (bits ^ bits >> 32) * UINT64_C(0x9E3779B97F4A7C15);
    return bits ^ bits >> 32;
}

static uint64_t hash_number(double number)
{
    bool whole = number >= -0x1p62 && number <= 0x1p62 && number == floor(number);
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    return hash_bits(whole ? (uint64_t)(int64_t)number : bits);
}

bool template_hashable(struct template_value value)
{
    if (value.kind == VALUE_TUPLE) {
        for (size_t i = 0; i < value.list->count; i++) {
            if (value.list->items[i].kind == VALUE_TUPLE || /* one level is enough for templates */
                !template_hashable(value.list->items[i])) {
                return false;
            }
        }
    }
    return value.kind != VALUE_LIST && value.kind != VALUE_DICT;
}

static uint64_t hash_value(struct template_context *context, struct template_value value)
{
    uint64_t hash = 0;
    switch (value.kind) {
    case VALUE_STRING:
        template_charge(context, value.string->hash ? 0 : value.string->bytes);
        return template_string_hash(value.string);
    case VALUE_BOOL:
        return hash_bits(value.boolean);
    case VALUE_INTEGER:
        return hash_bits((uint64_t)value.integer);
    case VALUE_FLOAT:
        return hash_number(value.number);
    case VALUE_TUPLE:
        for (size_t i = 0; i < value.list->count; i++) {
            hash = hash_bits(hash + hash_value(context, value.list->items[i]));
        }
        return hash;
    case VALUE_NONE:
    case VALUE_UNDEFINED:
        return (uint64_t)value.kind;
    default:
        return hash_bits((uint64_t)(uintptr_t)value.node);
    }
}

struct template_dict *template_dict_new(struct template_context *context)
{
    struct template_dict *dict = template_allocate(context, sizeof(*dict));
    *dict = (struct template_dict){0};
    return dict;
}

static bool entry_is(struct template_context *context, const struct template_entry *entry,
                     struct template_value key, uint64_t hash)
{
    return entry->hash == hash && template_equal(context, entry->key, key);
}

static struct template_entry *find_entry(struct template_context *context,
                                         const struct template_dict *dict,
                                         struct template_value key, uint64_t hash)
{
    if (!dict->slots) {
        for (size_t i = 0; i < dict->count; i++) {
            if (entry_is(context, &dict->entries[i], key, hash)) {
                return &dict->entries[i];
            }
        }
        return NULL;
    }
    size_t mask = dict->n_slots - 1;
    for (size_t slot = hash & mask; dict->slots[slot]; slot = (slot + 1) & mask) {
        struct template_entry *entry = &dict->entries[dict->slots[slot] - 1];
        if (entry_is(context, entry, key, hash)) {
            return entry;
        }
        template_charge(context, 0);
    }
    return NULL;
}

static void check_key(struct template_context *context, struct template_value key)
{
    if (!template_hashable(key)) {
        template_fail(context, "a %s cannot be the key of a dict", template_type(key));
    }
}

struct template_value *template_dict_find(struct template_context *context,
                                          const struct template_dict *dict,
                                          struct template_value key)
{
    check_key(context, key);
    struct template_entry *entry = find_entry(context, dict, key, hash_value(context, key));
    return entry ? &entry->value : NULL;
}

static void add_slot(struct template_dict *dict, size_t entry)
{
    size_t mask = dict->n_slots - 1, slot = dict->entries[entry].hash & mask;
    while (dict->slots[slot]) {
        slot = (slot + 1) & mask;
    }
    dict->slots[slot] = (uint32_t)entry + 1;
}

/* Slots for every entry there is room for. */
static void build_slots(struct template_context *context, struct template_dict *dict)
{
    dict->n_slots = dict->capacity * 2;
    dict->slots = allocate_items(context, dict->n_slots, sizeof(*dict->slots));
    memset(dict->slots, 0, dict->n_slots * sizeof(*dict->slots));
    for (size_t i = 0; i < dict->count; i++) {
        add_slot(dict, i);
    }
}

static void grow_dict(struct template_context *context, struct template_dict *dict)
{
    size_t capacity = dict->capacity ? dict->capacity * 2 : 2;
    if (capacity > UINT32_MAX / 4) {
        template_fail(context, "a dict is too large");
    }
    struct template_entry *entries = allocate_items(context, capacity, sizeof(*entries));
    if (dict->count > 0) {
        memcpy(entries, dict->entries, dict->count * sizeof(*entries));
    }
    dict->entries = entries;
    dict->capacity = capacity;
    if (capacity > SMALL_DICT) {
        build_slots(context, dict);
    }
}

void template_dict_set(struct template_context *context, struct template_dict *dict,
                       struct template_value key, struct template_value value)
{
    check_key(context, key);
    uint64_t hash = hash_value(context, key);
    struct template_entry *entry = find_entry(context, dict, key, hash);
    if (entry) {
        entry->value = value;
        return;
    }
    if (dict->count == dict->capacity) {
        grow_dict(context, dict);
    }
    dict->entries[dict->count++] =
        (struct template_entry){.key = key, .value = value, .hash = hash};
    if (dict->slots) {
        add_slot(dict, dict->count - 1);
    }
}

bool template_dict_remove(struct template_context *context, struct template_dict *dict,
                          struct template_value key)
{
    check_key(context, key);
    struct template_entry *entry = find_entry(context, dict, key, hash_value(context, key));
    if (!entry) {
        return false;
    }
    size_t after = dict->count - (size_t)(entry - dict->entries) - 1;
    template_charge(context, dict->count * sizeof(*entry));
    memmove(entry, entry + 1, after * sizeof(*entry));
    dict->count--;
    if (dict->slots) {
        memset(dict->slots, 0, dict->n_slots * sizeof(*dict->slots));
        for (size_t i = 0; i < dict->count; i++) {
            add_slot(dict, i);
        }
    }
    return true;
}

/* ---- questions ---------------------------------------------------------------------------- */

const char *template_type(struct template_value value)
{
    static const char *const names[] = {
        [VALUE_MISSING] = "missing argument",
        [VALUE_UNDEFINED] = "undefined value",
        [VALUE_NONE] = "none",
        [VALUE_BOOL] = "bool",
        [VALUE_INTEGER] = "int",
        [VALUE_FLOAT] = "float",
        [VALUE_STRING] = "str",
        [VALUE_LIST] = "list",
        [VALUE_TUPLE] = "tuple",
        [VALUE_GENERATOR] = "generator",
        [VALUE_KEYS] = "dict_keys",
        [VALUE_VALUES] = "dict_values",
        [VALUE_ITEMS] = "dict_items",
        [VALUE_RANGE] = "range",
        [VALUE_DICT] = "dict",
        [VALUE_NAMESPACE] = "namespace",
        [VALUE_LOOP] = "loop",
        [VALUE_MACRO] = "macro",
        [VALUE_FUNCTION] = "function",
        [VALUE_METHOD] = "method",
    };
    return names[value.kind];
}

bool template_truth(struct template_value value)
{
    switch (value.kind) {
    case VALUE_MISSING:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return value.boolean;
    case VALUE_INTEGER:
        return value.integer != 0;
    case VALUE_FLOAT:
        return value.number != 0;
    case VALUE_STRING:
        return value.string->bytes > 0;
    case VALUE_DICT:
        return value.dict->count > 0;
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_KEYS:
    case VALUE_VALUES:
    case VALUE_ITEMS:
    case VALUE_RANGE:
        return value.list->count > 0;
    default:
        return true;
    }
}

bool template_same(struct template_value a, struct template_value b)
{
    if (a.kind != b.kind) {
        return false;
    }
    switch (a.kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return true;
    case VALUE_BOOL:
        return a.boolean == b.boolean;
    case VALUE_INTEGER:
        return a.integer == b.integer;
    case VALUE_FLOAT:
        return a.number == b.number;
    case VALUE_STRING:
        return template_string_equal(a.string, b.string);
    default:
        return a.node == b.node; /* the same object */
    }
}

static bool is_number(struct template_value value)
{
    return value.kind >= VALUE_BOOL && value.kind <= VALUE_FLOAT;
}

static int64_t as_integer(struct template_value value)
{
    return value.kind == VALUE_BOOL ? value.boolean : value.integer;
}

/* Wide enough for every int64 where long double is wider than double. */
static long double as_wide(struct template_value value)
{
    return value.kind == VALUE_FLOAT ? value.number : (long double)as_integer(value);
}

static int compare_numbers(struct template_value a, struct template_value b)
{
    if (a.kind != VALUE_FLOAT && b.kind != VALUE_FLOAT) {
        return (as_integer(a) > as_integer(b)) - (as_integer(a) < as_integer(b));
    }
    long double x = as_wide(a), y = as_wide(b);
    return isnan(x) || isnan(y) ? TEMPLATE_UNORDERED : (x > y) - (x < y);
}

static bool lists_equal(struct template_context *context, const struct template_list *a,
                        const struct template_list *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!template_equal(context, a->items[i], b->items[i])) {
            return false;
        }
    }
    return true;
}

static bool dicts_equal(struct template_context *context, const struct template_dict *a,
                        const struct template_dict *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        const struct template_entry *entry = &a->entries[i];
        const struct template_entry *other = find_entry(context, b, entry->key, entry->hash);
        if (!other || !template_equal(context, entry->value, other->value)) {
            return false;
        }
    }
    return true;
}

bool template_equal(struct template_context *context, struct template_value a,
                    struct template_value b)
{
    template_charge(context,
                    a.kind == VALUE_STRING && b.kind == VALUE_STRING ? a.string->bytes : 0);
    if (is_number(a) && is_number(b)) {
        return compare_numbers(a, b) == 0;
    }
    if (a.kind != b.kind) {
        return false;
    }
    if (a.kind != VALUE_LIST && a.kind != VALUE_TUPLE && a.kind != VALUE_RANGE &&
        a.kind != VALUE_DICT) {
        return template_same(a, b);
    }
    template_enter(context);
    bool equal = a.kind == VALUE_DICT ? dicts_equal(context, a.dict, b.dict)
                                      : lists_equal(context, a.list, b.list);
    template_leave(context);
    return equal;
}

static int compare_lists(struct template_context *context, const struct template_list *a,
                         const struct template_list *b)
{
    size_t n = a->count < b->count ? a->count : b->count;
    for (size_t i = 0; i < n; i++) {
        if (!template_equal(context, a->items[i], b->items[i])) {
            return template_compare(context, a->items[i], b->items[i]);
        }
    }
    return (a->count > b->count) - (a->count < b->count);
}

int template_compare(struct template_context *context, struct template_value a,
                     struct template_value b)
{
    template_require(context, a);
    template_require(context, b);
    template_charge(context, 0);
    if (is_number(a) && is_number(b)) {
        return compare_numbers(a, b);
    }
    if (a.kind == VALUE_STRING && b.kind == VALUE_STRING) {
        template_charge(context,
                        a.string->bytes < b.string->bytes ? a.string->bytes : b.string->bytes);
        return template_string_compare(a.string, b.string);
    }
    if (a.kind != b.kind || (a.kind != VALUE_LIST && a.kind != VALUE_TUPLE)) {
        template_fail(context, "a %s and a %s have no order", template_type(a), template_type(b));
    }
    template_enter(context);
    int order = compare_lists(context, a.list, b.list);
    template_leave(context);
    return order;
}

bool template_contains(struct template_context *context, struct template_value container,
                       struct template_value item)
{
    if (container.kind == VALUE_STRING) {
        const struct template_string *needle = template_to_string(context, item, "'in' a string");
        return template_string_find(context, container.string, needle, 0) != SIZE_MAX;
    }
    if (container.kind == VALUE_DICT) {
        return template_dict_find(context, container.dict, item) != NULL;
    }
    const struct template_list *list = template_iterate(context, container);
    for (size_t i = 0; i < list->count; i++) {
        if (template_same(list->items[i], item) || template_equal(context, list->items[i], item)) {
            return true;
        }
    }
    return false;
}

int64_t template_length(struct template_value value)
{
    if (value.kind == VALUE_STRING) {
        return (int64_t)value.string->points;
    }
    if (value.kind == VALUE_DICT) {
        return (int64_t)value.dict->count;
    }
    if (value.kind == VALUE_LOOP) {
        return (int64_t)value.loop->count;
    }
    if (value.kind == VALUE_UNDEFINED) {
        return 0;
    }
    return template_is_list(value) && value.kind != VALUE_GENERATOR ? (int64_t)value.list->count
                                                                    : -1;
}
