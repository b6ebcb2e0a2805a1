// Facts about the machine and this process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace setrl {

std::string cpu_name();   // "model name" of /proc/cpuinfo, or "unknown"
bool cpu_has_bfloat16();  // AVX512-bf16 or AMX-bf16 instructions
bool cpu_has_avx2();
bool cpu_has_avx512();  // F, BW, DQ and VL
// AMX products of bfloat16 exist and the system lets this process use tiles. The first call asks for that, for all
// threads of the process, those to come included.
bool may_use_amx_bfloat16();
int available_cores();                  // cores this process may run on (affinity mask)
std::vector<int> core_numbers();        // which they are, ascending
int local_rank();                       // place among the ranks that the launcher started on this host; 0 without one
std::int64_t private_bytes();           // resident memory that is no file's (RssAnon)
std::int64_t peak_rss_bytes();          // high-water mark of resident memory
std::int64_t available_memory_bytes();  // MemAvailable
std::string host_name();

}  // namespace setrl
