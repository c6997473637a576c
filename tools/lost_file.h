/* What a program says that reads a mapped file which is no longer there.
 *
 * Files are mapped, not copied. Where one is cut off meanwhile (a download begun again, an editor),
 * or its drive fails, the next look at what is missing is a signal, SIGBUS, in whichever thread it
 * was; there is nothing to go on with. Instead of dying of it the program ends with a sentence that
 * names the file.
 */
#pragma once

/* Once, at the start. */
void lost_file_catch(void);
