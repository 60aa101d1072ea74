/* memory.h: giving back what a process that only waits does not need. */
#ifndef VMWIRE_BASE_MEMORY_H
#define VMWIRE_BASE_MEMORY_H

/* Let go of free heap and of every page of program and libraries that can be read again from its file.
 * Nothing where the host cannot tell which those are. */
void memory_trim(void);

#endif
