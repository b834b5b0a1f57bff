/*
 * The text in a template's other_config:disks, which says what disks VM.provision makes:
 *	<provision><disk device="0" size="bytes" sr="uuid, name or empty" bootable="true"
 *	type="system"/>
 * Written by clients: parsed without DTDs, bounded in number and size.
 */
#include <errno.h>
#include <stdlib.h>

#include <expat.h>

#include "modules/domain/copy/provision_disks.h"

struct parse {
	XML_Parser parser;
	struct xn_value *disks;
	const char *why; /* what is wrong; NULL: nothing */
	unsigned depth;
};

enum { MAX_TEXT = 1 << 16 };

static void stop(struct parse *p, const char *why)
{
	p->why = why;
	XML_StopParser(p->parser, XML_FALSE);
}

static const char *attribute(const XML_Char **attributes, const char *name)
{
	for (; attributes[0]; attributes += 2)
		if (strcmp(attributes[0], name) == 0)
			return attributes[1];
	return NULL;
}

static bool parse_size(const char *text, int64_t *out)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return !*end && errno == 0 && *out > 0;
}

static void on_disk(struct parse *p, const XML_Char **attributes)
{
	const char *device = attribute(attributes, "device");
	const char *sr = attribute(attributes, "sr"), *type = attribute(attributes, "type");
	const char *bootable = attribute(attributes, "bootable");
	struct xn_value *disk;
	int64_t size;

	if (xn_set_len(p->disks) >= XN_PROVISION_MAX_DISKS) {
		stop(p, "too many disks");
		return;
	}
	if (!device || !*device || strlen(device) > 8) {
		stop(p, "a disk without a device");
		return;
	}
	if (!parse_size(attribute(attributes, "size"), &size)) {
		stop(p, "a disk's size is no positive number");
		return;
	}
	disk = xn_map_new();
	xn_map_put_string(&disk, "device", device);
	xn_map_put(&disk, "size", xn_int(size));
	xn_map_put_string(&disk, "sr", sr ? sr : "");
	xn_map_put(&disk, "bootable", xn_bool(bootable && strcmp(bootable, "true") == 0));
	xn_map_put_string(&disk, "type", type ? type : "user");
	xn_set_append(&p->disks, disk);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct parse *p = arg;

	p->depth++;
	if (p->depth == 1 && strcmp(name, "provision") != 0)
		stop(p, "no <provision> element");
	else if (p->depth == 2 && strcmp(name, "disk") == 0)
		on_disk(p, attributes);
	else if (p->depth > 2)
		stop(p, "elements inside a disk");
}

static void on_end(void *arg, const XML_Char *name)
{
	((struct parse *)arg)->depth--;
}

/* Entities come with a DTD, and nothing good does. */
static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
		       const XML_Char *public_id, int has_internal_subset)
{
	stop(arg, "a document type");
}

int xn_provision_disks_parse(const char *text, size_t len, struct xn_value **disks_out,
			     const char **why)
{
	struct parse p = {0};
	enum XML_Status status;

	if (len > MAX_TEXT) {
		*why = "too long";
		return -EINVAL;
	}
	p.parser = XML_ParserCreate("UTF-8");
	if (!p.parser)
		return -ENOMEM;
	p.disks = xn_set_new();
	XML_SetUserData(p.parser, &p);
	XML_SetElementHandler(p.parser, on_start, on_end);
	XML_SetStartDoctypeDeclHandler(p.parser, on_doctype);
	status = XML_Parse(p.parser, text, (int)len, XML_TRUE);
	XML_ParserFree(p.parser);
	if (status != XML_STATUS_OK || p.why) {
		xn_value_unref(p.disks);
		*why = p.why ? p.why : "not well-formed";
		return -EINVAL;
	}
	*disks_out = p.disks;
	return 0;
}
