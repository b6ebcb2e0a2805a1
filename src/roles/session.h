// What every role of a rank shares: configuration, ranks, policy, task. Made once a process, never changed.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "comm/mpi_runtime.h"
#include "config/run_config.h"
#include "roles/policy.h"
#include "store/store_thread.h"
#include "tasks/task.h"
#include "topology/groups.h"
#include "topology/plan.h"

namespace setrl::roles {

struct Session {
  const RunConfig config;
  comm::Communicator& world;  // borrowed
  const topology::Plan plan;
  // Where this rank's learner and rollout engine compute, and in what; CPU on ranks that are neither. On GPUs the
  // groups' communicators know memory of both kinds.
  const at::Device device;
  const at::ScalarType dtype;
  topology::Groups groups;
  Policy policy;
  std::unique_ptr<tasks::Task> task;
  text::Grammar grammar;
  std::string config_hash;
  // The task as evaluations ask it, where that differs (single answers); else null.
  std::unique_ptr<tasks::Task> single_answer_task;

  std::unique_ptr<store::StoreThread> store;  // owns this process's HDF5 calls; ends before what its works use

  const tasks::Task& evaluation_task() const { return single_answer_task ? *single_answer_task : *task; }

  const topology::RankPlan& role() const { return plan.ranks.at(static_cast<std::size_t>(world.rank())); }
  // rollout.max_staleness where ranks that generate are others than those that learn; else 0, as they take turns.
  int max_staleness() const;
  bool is_root() const { return world.rank() == 0; }
};

// The options with which evaluations prompt and grade: one answer a completion in all modes but multi.
RunConfig evaluation_config(const RunConfig& config);

// Collective over the world. Chooses this process's GPU and sets the number of compute threads. `plan`: which rank does
// what.
std::unique_ptr<Session> open_session(const RunConfig& config, topology::Plan plan, comm::MpiRuntime& runtime);

}  // namespace setrl::roles
