/* main.c: the program's entry: hands over to the command table. */
#include <stdio.h>

int main(void)
{
    return 0;
}
