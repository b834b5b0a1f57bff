/* What goes wrong in a life, and how it ends; see sim.h. */
#include "sim.h"

/* Without its luck a step fails, hangs until its deadline, or works on beyond it. */
static enum xn_op_fault on_step(const struct xn_op *op, int member, void *arg)
{
	static const enum xn_op_fault faults[] = {XN_FAULT_FAIL,   XN_FAULT_FAIL,
						  XN_FAULT_FAIL_AFTER, XN_FAULT_HANG,
						  XN_FAULT_CANCEL, XN_FAULT_LATE};
	struct sim_world *w = arg;
	enum xn_op_fault fault;

	if (!w->faults_on || !sim_chance(w, 1, w->plan.step_faults))
		return XN_FAULT_NONE;
	fault = faults[sim_random(w, XN_ARRAY_SIZE(faults))];
	/* An undo is tried twice; what fails both times may leave something behind. */
	if (op->undoing && (op->undone_again || fault != XN_FAULT_FAIL))
		return XN_FAULT_NONE;
	if (member >= 0 && fault == XN_FAULT_LATE)
		return XN_FAULT_NONE;
	sim_say(w, "fault %d in %s, step %s%s", fault, op->kind->name,
		op->undoing ? "undo: " : "", xn_op_step_name(op));
	return fault;
}

/* Its own time for that is longer than most lives here. */
static void make_checkpoint(struct sim_world *w)
{
	w->core.store->ops->checkpoint(w->core.store);
}

void sim_faults_begin(struct sim_world *w)
{
	w->faults_on = true;
	if (sim_chance(w, w->plan.checkpoints, 100))
		make_checkpoint(w);
	xn_sim_disk_set_faults(w->disk, &w->plan.disk);
	if (w->plan.step_faults) {
		w->core.op_fault = on_step;
		w->core.op_fault_arg = w;
	}
}

void sim_faults_end(struct sim_world *w)
{
	struct xn_sim_faults none = {.sync_min_us = 50, .sync_max_us = 2000};

	w->faults_on = false;
	xn_sim_disk_set_faults(w->disk, &none);
}

static void jump_clock(struct sim_world *w)
{
	static const int64_t spans_s[] = {1, 60, 3600, 20 * 3600};
	int64_t span_us = spans_s[sim_random(w, XN_ARRAY_SIZE(spans_s))] * SIM_SECOND;
	int64_t jump_us = (int64_t)sim_random(w, 2 * (uint64_t)span_us) - span_us;

	sim_say(w, "the clock jumps by %lld ms", (long long)jump_us / 1000);
	xn_loop_virtual_set_wall(w->loop, xn_wall_us(w->loop) + jump_us);
}

void sim_faults_second(struct sim_world *w)
{
	if (sim_chance(w, w->plan.checkpoints, 100))
		make_checkpoint(w);
	if (sim_chance(w, w->plan.clock_jumps, 100))
		jump_clock(w);
	if (sim_chance(w, w->plan.mid_checks, 100))
		sim_check_any_time(w, false);
}

static bool is_among(const char *code, const char *const *codes)
{
	for (; *codes; codes++)
		if (strcmp(*codes, code) == 0)
			return true;
	return false;
}

bool sim_fault_explains(const struct sim_world *w, const char *code)
{
	/* What the store or a failed step says, and what guests' moods lead to. */
	static const char *const of_disk[] = {"INTERNAL_ERROR", "SR_BACKEND_FAILURE",
					      "VM_REVERT_FAILED",
					      "VM_CHECKPOINT_RESUME_FAILED",
					      "VM_CHECKPOINT_SUSPEND_FAILED", NULL};
	static const char *const of_steps[] = {"INTERNAL_ERROR", "TASK_CANCELLED",
					       "SR_BACKEND_FAILURE", "VM_REVERT_FAILED",
					       "VM_CHECKPOINT_RESUME_FAILED",
					       "VM_CHECKPOINT_SUSPEND_FAILED", NULL};

	if ((w->plan.disk.append_failures || w->plan.disk.sync_failures) &&
	    is_among(code, of_disk))
		return true;
	return w->plan.step_faults && is_among(code, of_steps);
}

void sim_death_arm(struct sim_world *w)
{
	switch (sim_random(w, 6)) {
	case 0: /* between two turns */
		break;
	case 1:
		w->armed = SIM_AT_CALLBACK;
		w->countdown = 1 + (unsigned)sim_random(w, 300);
		break;
	case 2: /* soon after somebody calls */
		w->armed = SIM_AT_CALL;
		w->countdown = 1 + (unsigned)sim_random(w, 60);
		break;
	case 3: /* just after somebody was answered */
		w->armed = SIM_AT_REPLY;
		w->countdown = 1 + (unsigned)sim_random(w, 3);
		break;
	default:
		w->armed = SIM_AT_POINT;
		w->point = (enum xn_sim_point)sim_random(w, XN_SIM_POINTS);
		w->countdown = 1 + (unsigned)sim_random(w, 12);
		break;
	}
}
