#include "roles/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace setrl::roles {

namespace {

std::atomic<int> received{0};

extern "C" void note_signal(int number) {
  if (received.fetch_add(1) > 0) _exit(128 + number);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = note_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR2, &action, nullptr);
}

bool signal_received() {
  return received.load() > 0;
}

bool stop_requested(comm::Communicator& ranks, bool known) {
  double asked = known || signal_received() ? 1 : 0;
  ranks.all_reduce(&asked, 1, comm::Reduction::max);
  return asked > 0;
}

}  // namespace setrl::roles
