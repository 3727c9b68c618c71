#include "base/base.h"

#include <stdlib.h>

#include "alloc.h"

#define EMPTY UINT64_MAX
#define FIRST_CAP 16

/* Finalizer of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit, one-to-one. */
uint64_t kb_hash64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	x ^= x >> 31;
	return x;
}

uint64_t kb_hash_bytes(const void *p, size_t n)
{
	const uint8_t *bytes = p;
	uint64_t h = kb_hash64(n + 0x9e3779b97f4a7c15u), last = 0;

	for (; n >= 8; n -= 8, bytes += 8)
		h = kb_hash64(h ^ kb_load64(bytes)) + 0x9e3779b97f4a7c15u;
	if (n)
		memcpy(&last, bytes, n);
	return kb_hash64(h ^ last);
}

/* The key's slot, or the empty one where it would go. The map is never full, so this ends. */
static struct kb_map_slot *find(struct kb_map_slot *slots, size_t cap, uint64_t key)
{
	size_t i = kb_hash64(key) & (cap - 1);

	while (slots[i].key != key && slots[i].key != EMPTY)
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

static bool rehash(kb_map *m, size_t cap)
{
	struct kb_map_slot *slots;
	size_t bytes;

	if (__builtin_mul_overflow(cap, sizeof(*slots), &bytes))
		return false;
	slots = kb_malloc(bytes);
	if (!slots)
		return false;
	memset(slots, 0xff, bytes); /* EMPTY in every key */
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].key != EMPTY)
			*find(slots, cap, m->slots[i].key) = m->slots[i];
	free(m->slots);
	m->slots = slots;
	m->cap = cap;
	return true;
}

bool kb_map_put(kb_map *m, uint64_t key, uint64_t value)
{
	struct kb_map_slot *slot;

	if (key == EMPTY)
		return false;
	slot = m->cap ? find(m->slots, m->cap, key) : NULL;
	if (slot && slot->key == key) {
		slot->value = value;
		return true;
	}
	/* At most 3/4 full: linear probing stays short. */
	if (m->n + 1 > m->cap / 4 * 3) {
		if (m->cap > SIZE_MAX / 2 || !rehash(m, m->cap ? m->cap * 2 : FIRST_CAP))
			return false;
		slot = find(m->slots, m->cap, key);
	}
	*slot = (struct kb_map_slot){ .key = key, .value = value };
	m->n++;
	return true;
}

bool kb_map_get(const kb_map *m, uint64_t key, uint64_t *ret_value)
{
	const struct kb_map_slot *slot;

	if (!m->cap || key == EMPTY)
		return false;
	slot = find(m->slots, m->cap, key);
	if (slot->key != key)
		return false;
	*ret_value = slot->value;
	return true;
}

void kb_map_free(kb_map *m)
{
	free(m->slots);
	*m = (kb_map){ 0 };
}
