/* What client.c and action.c share: what a client has, and one thing that it does. */
#ifndef XN_SIM_CLIENT_INTERNAL_H
#define XN_SIM_CLIENT_INTERNAL_H

#include "sim.h"

enum { MOST_KEYS = 6, MOST_CHANGES = 40 };

struct sim_vm {
	struct xn_list link; /* client.vms or client.snapshots */
	char ref[48];
	struct sim_fact *exists, *name;
	struct sim_fact *power; /* NULL: cannot be told */
	struct sim_fact *keys[MOST_KEYS];
	unsigned n_keys;
	bool is_snapshot;
	bool is_template; /* not provisioned yet */
	bool unsure;	  /* to be looked at before anything else is done to it */
	bool is_moody;	  /* its guest does what it likes: any state, and any call may fail */
	struct sim_vm *snapshot_of; /* NULL: none, or gone */
};

/* Another row that a client has made. */
struct sim_thing {
	struct xn_list link;
	int class_id;
	char ref[48];
	struct sim_fact *exists;
	struct sim_fact *detail; /* VDI: its size; task: its key; else NULL */
	struct sim_vm *vm;	 /* VBD, VIF */
	struct sim_thing *disk;	 /* VBD: its VDI */
	unsigned unit;		 /* VBD, VIF: device number */
	bool unsure, is_void;
};

struct sim_change { /* that an acknowledgement would prove */
	struct sim_fact *fact;
	struct xn_value *value;
};

struct sim_deed {
	const struct sim_action *action;
	struct sim_client *client;
	struct sim_vm *vm;
	struct sim_thing *thing;
	struct sim_change changes[MOST_CHANGES];
	unsigned n_changes;
	unsigned cuts; /* of the host's power, when it began */
	char text[48];
	int64_t number;
};

/* Calls of two kinds go side by side: operations, one at a time, and quick ones. */
enum sim_lane { SIM_OPERATIONS, SIM_QUICK, SIM_LANES };

struct sim_action {
	const char *method;
	unsigned weight;
	enum sim_lane lane;
	/* Adds the parameters and what will have changed. False: it makes no sense now. */
	bool (*prepare)(struct sim_deed *deed, struct xn_value **params);
	void (*done)(struct sim_deed *deed, const struct xn_value *result); /* or NULL */
	const char *refusals; /* that may come although nothing is wrong, and change nothing */
	bool may_be_async;
};
extern const struct sim_action sim_actions[];
extern const size_t sim_n_actions;

struct sim_lane_state {
	struct sim_client *client;
	enum sim_lane lane;
	struct xn_timer pause;
	struct sim_deed *deed; /* under way */
	struct sim_call *call;
	char task[48]; /* the deed goes on as a task */
	unsigned cuts, life; /* when the deed began */
};

struct sim_client {
	struct sim_world *world;
	unsigned index, counter;
	char secret[48];
	unsigned login_cuts; /* when it logged in */
	bool is_unstored;    /* its session: the disk refused then */
	bool resting, is_away; /* not logged in */
	bool logging_in;
	struct xn_list vms, snapshots, things;
	struct sim_lane_state lanes[SIM_LANES];
};

/* What an acknowledgement of @deed would prove. @value is taken. */
void sim_deed_changes(struct sim_deed *deed, struct sim_fact *fact, struct xn_value *value);
struct sim_vm *sim_vm_add(struct sim_client *c, struct xn_list *list, const char *ref,
			  const char *name);
struct sim_thing *sim_thing_add(struct sim_client *c, int class_id, const char *ref);
bool sim_is_used(const struct sim_client *c, const struct sim_thing *disk); /* by a device */
void sim_thing_drop(struct sim_thing *thing);
void sim_vm_drop(struct sim_client *c, struct sim_vm *vm);
void sim_vm_has_power(struct sim_client *c, struct sim_vm *vm); /* from now on, as it is */
void sim_vm_relearn(struct sim_client *c, struct sim_vm *vm); /* all that was known is void */

#endif
