/* fuzz_packet.c: any bytes as a frame: no read behind the end, and a line of printable characters. */
#include <stdint.h>
#include <stdlib.h>

#include "diag/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct packet packet;
    packet_decode(data, size, size, &packet);
    for (const char *text = PACKET_TEXT(&packet); *text; text++) {
        if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f)
            abort();
    }
    return 0;
}
