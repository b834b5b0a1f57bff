/* Blocks of objects; see slab.h. A block is aligned to its size, so that an object tells its block. */
#include "core/slab.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { BLOCK = 65536, ALIGN = 16 };

struct block {
	struct xn_list link;
	struct xn_slab *slab;
	void *free; /* the first bytes of each point at the next */
	unsigned used;
	unsigned touched; /* objects that were handed out once; those behind are zero still */
};

/* Under a sanitizer each object is an allocation, so that it sees who uses a freed one. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ONE_BY_ONE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ONE_BY_ONE 1
#endif
#endif
#ifndef ONE_BY_ONE
#define ONE_BY_ONE 0
#endif

static size_t first_offset(void)
{
	return (sizeof(struct block) + ALIGN - 1) / ALIGN * ALIGN;
}

static unsigned capacity(const struct xn_slab *slab)
{
	return (unsigned)((BLOCK - first_offset()) / slab->size);
}

void xn_slab_init(struct xn_slab *slab, size_t size)
{
	slab->size = (size + ALIGN - 1) / ALIGN * ALIGN;
	assert(capacity(slab) > 1);
	xn_list_init(&slab->partial);
	xn_list_init(&slab->full);
	slab->n_blocks = 0;
}

static struct block *block_new(struct xn_slab *slab)
{
	/* Twice as much, of which the aligned half stays. */
	char *at = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;
	struct block *block;

	if (at == MAP_FAILED)
		abort();
	before = (BLOCK - (uintptr_t)at % BLOCK) % BLOCK;
	if (before)
		munmap(at, before);
	munmap(at + before + BLOCK, BLOCK - before);
	block = (struct block *)(at + before);
	block->slab = slab;
	xn_list_push(&slab->partial, &block->link);
	slab->n_blocks++;
	return block;
}

static void block_free(struct xn_slab *slab, struct block *block)
{
	xn_list_remove(&block->link);
	slab->n_blocks--;
	munmap(block, BLOCK);
}

void *xn_slab_alloc(struct xn_slab *slab)
{
	struct block *block;
	void *object;

	if (ONE_BY_ONE)
		return xn_calloc(1, slab->size);
	block = xn_list_empty(&slab->partial)
			? block_new(slab)
			: xn_list_entry(slab->partial.next, struct block, link);
	object = block->free;
	if (object) {
		block->free = *(void **)object;
		memset(object, 0, slab->size);
	} else {
		object = (char *)block + first_offset() + slab->size * block->touched++;
	}
	if (++block->used == capacity(slab)) {
		xn_list_remove(&block->link);
		xn_list_push(&slab->full, &block->link);
	}
	return object;
}

static struct block *block_of(void *object)
{
	return (struct block *)((uintptr_t)object & ~(uintptr_t)(BLOCK - 1));
}

void xn_slab_free_any(void *object)
{
	xn_slab_free(ONE_BY_ONE || !object ? NULL : block_of(object)->slab, object);
}

void xn_slab_free(struct xn_slab *slab, void *object)
{
	struct block *block;

	if (ONE_BY_ONE || !object) {
		free(ONE_BY_ONE ? object : NULL);
		return;
	}
	block = block_of(object);
	assert(block->slab == slab && block->used > 0);
	*(void **)object = block->free;
	block->free = object;
	if (block->used-- == capacity(slab)) {
		xn_list_remove(&block->link);
		xn_list_push(&slab->partial, &block->link);
	}
	/* The last one stays: who comes alone and goes again costs no system call. */
	if (!block->used && slab->n_blocks > 1)
		block_free(slab, block);
}

void xn_slab_clear(struct xn_slab *slab)
{
	while (!xn_list_empty(&slab->partial))
		block_free(slab, xn_list_entry(slab->partial.next, struct block, link));
	while (!xn_list_empty(&slab->full))
		block_free(slab, xn_list_entry(slab->full.next, struct block, link));
}
