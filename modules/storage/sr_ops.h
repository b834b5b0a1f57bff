/*
 * What a kind of storage repository can do: one struct a type, all calls blocking, run by workers
 * (a kind that is a foreign program would run and, past its deadline, kill it there). A call sees
 * its request and nothing else.
 */
#ifndef XN_SR_OPS_H
#define XN_SR_OPS_H

#include "core/worker.h"
#include "modules/db/db.h"
#include "modules/storage/image.h"

struct xn_sr_request;
struct xn_value;
struct xn_error;

struct xn_sr_space {
	int64_t total, free; /* bytes */
};

/* One image that a scan found. */
struct xn_sr_found {
	char *location; /* VDI.location: a uuid, or a file name; owned */
	enum xn_image_state state;
	struct xn_image_info info;
};

struct xn_sr_feature {
	const char *name; /* "VDI_CREATE" */
	int version;
};

struct xn_sr_key {
	const char *name, *doc;
};

struct xn_sr_ops {
	const char *type; /* SR.type, SM.type */
	const char *name, *description;
	const struct xn_sr_feature *features;  /* ends with .name == NULL */
	const struct xn_sr_key *configuration; /* keys of device_config; ends with .name == NULL */
	bool read_only; /* images are somebody else's: never made, changed or adopted for writing */
	/* 0 or -errno each. The members of the request that each reads and fills are said there. */
	int (*create)(struct xn_sr_request *rq);    /* what a new SR needs, and attach; space */
	int (*attach)(struct xn_sr_request *rq);    /* space */
	int (*destroy)(struct xn_sr_request *rq);   /* the SR's own traces, when it is empty */
	int (*list)(struct xn_sr_request *rq);      /* found, space */
	int (*stat)(struct xn_sr_request *rq);      /* location -> path, info, space */
	int (*make)(struct xn_sr_request *rq);      /* location, size, format -> info, space */
	int (*copy)(struct xn_sr_request *rq);      /* location, size, source -> info, space */
	int (*overwrite)(struct xn_sr_request *rq); /* location, source -> info, space */
	int (*settle)(struct xn_sr_request *rq);    /* location: the disk exists from now on */
	int (*retire)(struct xn_sr_request *rq); /* location: until remove, settle brings it back */
	int (*remove)(struct xn_sr_request *rq); /* location -> space */
	int (*grow)(struct xn_sr_request *rq);   /* location, size -> info, space */
	int (*shrink)(struct xn_sr_request *rq); /* the same: takes back a growth */
};

extern const struct xn_sr_ops xn_sr_file_ops, xn_sr_iso_ops;
extern const struct xn_sr_ops *const xn_sr_types[];        /* ends with NULL */
const struct xn_sr_ops *xn_sr_type_find(const char *type); /* or NULL */
/* @path (absolute) and what is missing above it; blocks. 0 or -errno. */
int xn_sr_make_folders(const char *path);
bool xn_sr_has_feature(const struct xn_sr_ops *ops, const char *name); /* NULL ops: none */

/* One call on its way. Made by xn_sr_request_new, freed after done(). */
struct xn_sr_request {
	struct xn_work work;
	struct xn_list link; /* the module's list of requests under way */
	struct xn_db *db;
	struct xn_kept_origin origin; /* of who submitted it: done() acts for the same */
	int (*call)(struct xn_sr_request *rq);
	bool fixed_facts; /* virtual time: sizes that depend on the machine's disk are made up */
	/* in, owned */
	char *folder, *location, *source;
	int64_t size;
	enum xn_image_format format;
	struct xn_copy_progress progress;
	bool only_look; /* stat: nobody holds the disk for it, so names stay as they are */
	/* out */
	char *path; /* owned */
	struct xn_image_info info;
	struct xn_sr_space space;
	struct xn_sr_found *found; /* owned; xn_sr_found_free() */
	size_t n_found;
	/* On the loop, once; not when the module stops before. */
	void (*done)(struct xn_sr_request *rq, int rc);
	void *arg;
	struct xn_job withdrawn; /* done() without having begun */
};

void xn_sr_found_free(struct xn_sr_found *found, size_t n);

#endif
