/* See interrupt.h. Signals know no arguments, so this is the one file with state of its own. */
#include "rpc/xe/client/interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static struct {
	int pipe[2];
	volatile sig_atomic_t can_cancel, count, has_terminal, has_line;
	struct termios terminal;
	const char *volatile half_a_file;
} interrupt = {.pipe = {-1, -1}};

/* Only what is allowed in a signal's handler. */
static void put_right(void)
{
	static const char wipe[] = "\r\033[K";
	ssize_t n XN_UNUSED;

	if (interrupt.has_terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &interrupt.terminal);
	if (interrupt.has_line)
		n = write(STDERR_FILENO, wipe, sizeof(wipe) - 1);
	if (interrupt.half_a_file)
		unlink(interrupt.half_a_file);
}

static void on_signal(int number)
{
	ssize_t n XN_UNUSED;

	if (number == SIGINT && interrupt.can_cancel && interrupt.count++ == 0) {
		n = write(interrupt.pipe[1], "", 1);
		return;
	}
	put_right();
	_exit(128 + number);
}

void xe_interrupt_init(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	if (pipe2(interrupt.pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		interrupt.pipe[0] = interrupt.pipe[1] = -1;
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < XN_ARRAY_SIZE(numbers); i++) {
		struct sigaction old;

		/* "nohup xe ..." wants it to stay ignored. */
		if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(numbers[i], &action, NULL);
	}
}

int xe_interrupt_fd(void)
{
	return interrupt.pipe[0];
}

void xe_interrupt_offer(bool can_cancel)
{
	interrupt.can_cancel = can_cancel && interrupt.pipe[0] >= 0;
}

bool xe_interrupt_take(void)
{
	char bytes[16];
	bool any = false;

	while (interrupt.pipe[0] >= 0 && read(interrupt.pipe[0], bytes, sizeof(bytes)) > 0)
		any = true;
	return any;
}

void xe_interrupt_forget(void)
{
	interrupt.count = 0;
}

void xe_interrupt_restores(const struct termios *terminal)
{
	interrupt.has_terminal = 0;
	if (terminal) {
		interrupt.terminal = *terminal;
		interrupt.has_terminal = 1;
	}
}

void xe_interrupt_removes(const char *half_a_file)
{
	interrupt.half_a_file = half_a_file;
}

void xe_interrupt_wipes_line(bool progress_is_shown)
{
	interrupt.has_line = progress_is_shown;
}
