// Accounts of a process that forks: the child has one of its own, the parent keeps its own.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "dure/base/files.h"
#include "dure/money/account.h"
#include "dure/money/ledger.h"

namespace dure::money {
namespace {

class Forked : public ::testing::Test {
 protected:
  Forked() {
    std::string name = (std::filesystem::temp_directory_path() / "dure-fork-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Forked() override { std::filesystem::remove_all(folder_); }

  static base::Result<Admission> reserve(Account& account) {
    const std::vector<std::string> scopes{"org:acme"};
    ReserveRequest request;
    request.scopes = scopes;
    request.bound.pico = request.bound.input_pico = 100;
    return account.reserve(request);
  }
  static bool limit(Account& account) {
    BudgetSpec spec;
    spec.scope = "org:acme";
    spec.limit = 1'000;
    return account.set_budget(spec).ok();
  }
  // What a child ended with.
  template <typename Work>
  static int in_child(Work work) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(120);
      ::_exit(work());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string folder_;
};

TEST_F(Forked, AChildWritesALedgerOfItsOwnAndEndsNoHoldOfItsParent) {
  auto account = Account::open(folder_).value();
  ASSERT_TRUE(limit(*account));
  const Admission held = reserve(*account).value();
  EXPECT_EQ(in_child([&] {
              if (account->void_hold(held.id).ok()) return 1;
              const auto own = reserve(*account);
              if (!own || own->id.epoch == held.id.epoch) return 2;
              return account->void_hold(own->id).ok() ? 0 : 3;
            }),
            0);
  EXPECT_TRUE(account->sent(held.id).ok());
  EXPECT_EQ(account->budgets("org:acme").value().at(0).held, 100);
  EXPECT_EQ(ledger_files(base::system_files(), folder_).value().size(), 2U);
}

TEST_F(Forked, BothMayOpenFurtherAccounts) {
  auto account = Account::open(folder_).value();
  ASSERT_TRUE(limit(*account));
  EXPECT_EQ(in_child([&] { return reserve(*Account::open(folder_).value()) ? 0 : 1; }), 0);
  ::alarm(120);  // a lock that a fork left behind
  auto next = Account::open(folder_).value();
  EXPECT_TRUE(reserve(*next).has_value());
  EXPECT_TRUE(reserve(*account).has_value());
  ::alarm(0);
}

TEST_F(Forked, AFolderHasOneSharedAccountWhileItIsInUse) {
  auto account = Account::shared(folder_).value();
  EXPECT_EQ(Account::shared(folder_).value(), account);
  EXPECT_NE(Account::open(folder_).value(), account);
  ASSERT_TRUE(limit(*account));
  account.reset();
  EXPECT_EQ(Account::shared(folder_).value()->budgets("org:acme").value().size(), 1U);
}

}  // namespace
}  // namespace dure::money
