/* What live processes and cores have in common. */
#include "private.h"

#include <stdlib.h>

void kb_target_close(kb_target *t)
{
	if (!t)
		return;
	kb_error_free(kb_target_resume(t));
	if (t->core)
		kb_core_free(t->core);
	else
		kb_live_close(t);
	kb_cleanup_close(&t->exe_fd);
	kb_maps_free(&t->maps);
	kb_overlay_free(&t->overlay);
	free(t->threads);
	free(t->raw);
	free(t->info.exe);
	free(t->info.truncated_text);
	free(t);
}

const kb_target_info *kb_target_info_get(const kb_target *t)
{
	return &t->info;
}

int kb_target_exe_fd(const kb_target *t)
{
	return t->exe_fd;
}

const kb_mapping *kb_target_mappings(const kb_target *t, size_t *ret_n)
{
	*ret_n = t->maps.n;
	return t->maps.v;
}

const kb_mapping *kb_target_mapping_at(const kb_target *t, kb_addr a)
{
	return kb_maps_at(&t->maps, a);
}

kb_error *kb_target_refresh_maps(kb_target *t)
{
	return t->core ? NULL : kb_live_refresh_maps(t);
}

void kb_regs_from_user(kb_regs *r, const struct user_regs_struct *u)
{
	*r = (kb_regs){ .rip = u->rip,
			.rsp = u->rsp,
			.rbp = u->rbp,
			.rax = u->rax,
			.rbx = u->rbx,
			.rcx = u->rcx,
			.rdx = u->rdx,
			.rsi = u->rsi,
			.rdi = u->rdi,
			.r8 = u->r8,
			.r9 = u->r9,
			.r10 = u->r10,
			.r11 = u->r11,
			.r12 = u->r12,
			.r13 = u->r13,
			.r14 = u->r14,
			.r15 = u->r15,
			.orig_rax = u->orig_rax,
			.fs_base = u->fs_base };
}
