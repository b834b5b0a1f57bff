/*
 * Names and numbers of devices: the position that a client gives a disk or interface, the name and
 * xenstore number under which it appears in a domain, and addresses derived from a VM's seed.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include <mbedtls/md.h>

#include "modules/domain/domain_internal.h"

enum {
	XVD_MAJOR = 202,
	IDE0_MAJOR = 3,
	IDE1_MAJOR = 22,
	XVD_OLD_POSITIONS = 16, /* beyond: the extended numbering */
	POSITION_LIMIT = 1 << 20,
};

/* "a" -> 0, "z" -> 25, "aa" -> 26; -1. */
static int letters_position(const char *text)
{
	int position = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < 'a' || *text > 'z' || position > POSITION_LIMIT)
			return -1;
		position = position * 26 + (*text - 'a' + 1);
	}
	return position - 1;
}

static void position_letters(int position, char *out)
{
	char reversed[8];
	int n = 0;

	for (position++; position > 0 && n < (int)sizeof(reversed); position = (position - 1) / 26)
		reversed[n++] = (char)('a' + (position - 1) % 26);
	while (n > 0)
		*out++ = reversed[--n];
	*out = '\0';
}

static int decimal(const char *text)
{
	char *end;
	long n;

	if (!isdigit((unsigned char)*text) || strlen(text) > 7)
		return -1;
	n = strtol(text, &end, 10);
	return *end || n > POSITION_LIMIT ? -1 : (int)n;
}

int xn_disk_position(const char *userdevice)
{
	static const char *const prefixes[] = {"xvd", "hd", "sd"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(prefixes); i++) {
		size_t len = strlen(prefixes[i]);

		if (strncmp(userdevice, prefixes[i], len) == 0)
			return letters_position(userdevice + len);
	}
	return decimal(userdevice);
}

int xn_nic_position(const char *device)
{
	return decimal(device);
}

void xn_disk_name(int position, bool hvm, bool is_cdrom, struct xn_disk_name *out)
{
	/* A CD drive of an HVM guest is emulated and must be on one of the four IDE places. */
	bool ide = hvm && is_cdrom && position < 4;
	char letters[10];

	position_letters(position, letters);
	snprintf(out->vdev, sizeof(out->vdev), "%s%s", ide ? "hd" : "xvd", letters);
	if (ide)
		out->devid = (position < 2 ? IDE0_MAJOR : IDE1_MAJOR) << 8 | (position % 2) << 6;
	else if (position < XVD_OLD_POSITIONS)
		out->devid = XVD_MAJOR << 8 | position << 4;
	else
		out->devid = 1 << 28 | position << 8;
}

/* ---- addresses ---- */

static void md5(const unsigned char *in, size_t len, unsigned char out[16])
{
	unsigned char digest[16];

	if (mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_MD5), in, len, digest) != 0)
		abort(); /* a build of mbedtls without MD5 */
	memcpy(out, digest, sizeof(digest));
}

void xn_mac_from_seed(const char *seed, int device, char out[18])
{
	unsigned char a[16], b[16];

	md5((const unsigned char *)seed, strlen(seed), a);
	for (int i = 0; i < 2 * device; i++)
		md5(a, sizeof(a), a);
	md5(a, sizeof(a), b);
	snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", (a[0] & 0xfc) | 0x02, a[1], a[2], a[3],
		 b[1], b[2]);
}

bool xn_mac_is_valid(const char *mac)
{
	if (strlen(mac) != 17)
		return false;
	for (int i = 0; i < 17; i++)
		if (i % 3 == 2 ? mac[i] != ':' : !isxdigit((unsigned char)mac[i]))
			return false;
	/* A group address is nobody's own. */
	return (strtol((const char[]){mac[0], mac[1], '\0'}, NULL, 16) & 1) == 0;
}
