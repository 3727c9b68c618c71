/* Which data a function mentions, without a disassembler: every RIP-relative operand has a ModRM byte with mod=00, rm=101
 * and a 32-bit displacement counted from the end of the instruction. What follows the displacement is known from the
 * opcode. Other bytes may look the same; the caller keeps only targets in the section it wants. */
#include "program/program.h"

#define MODRM_RIP 0x05
#define MODRM_MASK 0xc7

/* Opcodes behind 0F that take an 8-bit immediate. */
static unsigned immediate_0f(uint8_t op)
{
	switch (op) {
	case 0xba: /* bt, bts, … */
	case 0xa4: /* shld */
	case 0xac: /* shrd */
	case 0xc2: /* cmpps */
	case 0xc6: /* shufps */
	case 0x70: /* pshufd */
		return 1;
	default:
		return 0;
	}
}

/* Length of the immediate of a one-byte opcode; word says that a 66 prefix halves a 32-bit one. */
static unsigned immediate(uint8_t op, unsigned reg, bool word)
{
	switch (op) {
	case 0x80:
	case 0x82:
	case 0x83:
	case 0xc0:
	case 0xc1:
	case 0xc6:
	case 0x6b:
		return 1;
	case 0x81:
	case 0xc7:
	case 0x69:
		return word ? 2 : 4;
	case 0xf6: /* only test has one */
		return reg < 2 ? 1 : 0;
	case 0xf7:
		return reg < 2 ? (word ? 2 : 4) : 0;
	default:
		return 0;
	}
}

size_t kb_code_data_refs(kb_bytes code, uint64_t pc, uint64_t *out, size_t max)
{
	const uint8_t *c = code.p;
	size_t n = 0;

	for (size_t i = 2; i + 4 <= code.n && n < max; i++) {
		unsigned behind;
		bool word;

		if ((c[i - 1] & MODRM_MASK) != MODRM_RIP)
			continue;
		word = (i >= 3 && c[i - 3] == 0x66) || (i >= 4 && c[i - 4] == 0x66);
		if (i >= 3 && c[i - 3] == 0x0f)
			behind = immediate_0f(c[i - 2]);
		else
			behind = immediate(c[i - 2], (c[i - 1] >> 3) & 7, word);
		out[n++] = pc + i + 4 + behind + (uint64_t)(int64_t)(int32_t)kb_load32(c + i);
	}
	return n;
}
