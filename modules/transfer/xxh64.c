#include "modules/transfer/xxh64.h"

#include <endian.h>
#include <string.h>

static const uint64_t prime1 = 0x9e3779b185ebca87, prime2 = 0xc2b2ae3d27d4eb4f,
		      prime3 = 0x165667b19e3779f9, prime4 = 0x85ebca77c2b2ae63,
		      prime5 = 0x27d4eb2f165667c5;

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static uint64_t word(const unsigned char *p)
{
	uint64_t w;

	memcpy(&w, p, 8);
	return le64toh(w);
}

static uint64_t half_word(const unsigned char *p)
{
	uint32_t w;

	memcpy(&w, p, 4);
	return le32toh(w);
}

static uint64_t round_of(uint64_t lane, uint64_t input)
{
	return rotate(lane + input * prime2, 31) * prime1;
}

static uint64_t merge(uint64_t hash, uint64_t lane)
{
	return (hash ^ round_of(0, lane)) * prime1 + prime4;
}

static uint64_t of_stripes(const unsigned char **p, const unsigned char *end)
{
	uint64_t lanes[4] = {prime1 + prime2, prime2, 0, 0 - prime1};
	uint64_t hash;

	for (; end - *p >= 32; *p += 32)
		for (unsigned i = 0; i < 4; i++)
			lanes[i] = round_of(lanes[i], word(*p + 8 * i));
	hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) +
	       rotate(lanes[3], 18);
	for (unsigned i = 0; i < 4; i++)
		hash = merge(hash, lanes[i]);
	return hash;
}

uint64_t xn_xxh64(const void *data, size_t len)
{
	const unsigned char *p = data, *end = p + len;
	uint64_t hash = (len >= 32 ? of_stripes(&p, end) : prime5) + len;

	for (; end - p >= 8; p += 8)
		hash = rotate(hash ^ round_of(0, word(p)), 27) * prime1 + prime4;
	if (end - p >= 4) {
		hash = rotate(hash ^ half_word(p) * prime1, 23) * prime2 + prime3;
		p += 4;
	}
	for (; p < end; p++)
		hash = rotate(hash ^ *p * prime5, 11) * prime1;
	hash = (hash ^ hash >> 33) * prime2;
	hash = (hash ^ hash >> 29) * prime3;
	return hash ^ hash >> 32;
}
