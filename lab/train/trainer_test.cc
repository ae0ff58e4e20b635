#include "lab/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "lab/train/objective.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace trainer_test {

using nlohmann::json;
using ::testing::HasSubstr;

using TrainerTest = TrainFixture;

// Notes the events in one list, with a letter of its own.
class Witness : public TrainObserver {
 public:
  Witness(std::string letter, std::vector<std::string>& notes)
      : letter_(std::move(letter)), notes_(notes) {}

  void OnStart(const StartEvent& event) override {
    Note("start, " + Text(event.run.steps) + " of " + Text(event.run.planned_steps));
  }
  void OnGradient(const GradientEvent& event) override {
    Note((event.pass == Pass::kPlain ? "plain " : "perturbed ") + Text(event.record.gradients) +
         " of step " + Text(event.record.step));
  }
  void OnStep(const StepEvent& event) override {
    Note("step " + Text(event.record.step) + " of epoch " + Text(event.record.epoch));
  }
  void OnEvaluation(const EvaluationEvent& event) override {
    Note("evaluation after " + Text(event.run.steps));
  }
  void OnEnd(const EndEvent& event) override { Note("end: " + event.run.stopped); }

 private:
  static std::string Text(int64_t number) { return std::to_string(number); }
  void Note(const std::string& what) { notes_.push_back(letter_ + " " + what); }

  std::string letter_;
  std::vector<std::string>& notes_;
};

// Runs functions in place of events.
struct Functions : TrainObserver {
  std::function<void(const StepEvent&)> step = {};
  std::function<void(const EvaluationEvent&)> evaluation = {};
  std::function<void(const EndEvent&)> end = {};

  void OnStep(const StepEvent& event) override {
    if (step) step(event);
  }
  void OnEvaluation(const EvaluationEvent& event) override {
    if (evaluation) evaluation(event);
  }
  void OnEnd(const EndEvent& event) override {
    if (end) end(event);
  }
};

TEST_F(TrainerTest, TellsEachObserverEachEventInOrder) {
  // Three batches an epoch; every second step has a perturbed pass.
  Trainer trainer(
      ReadRecipe({"train.batch_size=40", "optimizer.source=looksam", "optimizer.sharpness.k=2",
                  "train.eval_every=2", "train.steps=5", "train.epochs=0"}));
  std::vector<std::string> notes, expected;
  Witness a("a", notes), b("b", notes);
  trainer.Add(a);
  trainer.Add(b);
  trainer.Run();
  for (const char* const event :
       {"start, 0 of 5", "plain 1 of step 1", "perturbed 2 of step 1", "step 1 of epoch 1",
        "plain 1 of step 2", "step 2 of epoch 1", "evaluation after 2", "plain 1 of step 3",
        "perturbed 2 of step 3", "step 3 of epoch 1", "plain 1 of step 4", "step 4 of epoch 2",
        "evaluation after 4", "plain 1 of step 5", "perturbed 2 of step 5", "step 5 of epoch 2",
        "evaluation after 5", "end: reached the end"}) {
    for (const char* const letter : {"a ", "b "}) expected.push_back(letter + std::string(event));
  }
  EXPECT_EQ(notes, expected);
}

TEST_F(TrainerTest, EventsHaveTheValuesOfALoopByHand) {
  const Recipe recipe = ReadRecipe({"train.batch_size=50", "train.epochs=2", "model.dropout=0.1"});
  std::vector<double> losses, rates;
  std::vector<Score> scores;
  Score test;
  {
    Session session(recipe);
    const auto score = [&](const Samples& samples) {
      return Evaluate(session.model(), samples, session.loss(), session.compute());
    };
    session.model().train();
    for (int epoch = 0; epoch < 2; ++epoch) {
      session.batches().StartEpoch();
      while (session.batches().More()) {
        rates.push_back(session.optimizer().core().Value(0, "lr"));
        const Report report = session.optimizer().Step(
            std::function<Evaluation(Pass)>([&](Pass pass) { return session.NextLoss(pass); }));
        session.EndStep(report.skipped);
        losses.push_back(report.loss);
      }
      scores.push_back(score(session.validation()));
    }
    test = score(session.test());
  }

  Trainer trainer(recipe);
  Functions observer;
  std::vector<double> seen_losses, seen_rates;
  std::vector<Score> seen_scores;
  observer.step = [&](const StepEvent& event) {
    seen_losses.push_back(event.record.loss);
    seen_rates.push_back(event.record.lr);
    EXPECT_EQ(event.run.loss, event.record.loss);
    EXPECT_EQ(event.report.loss, event.record.loss);
    EXPECT_EQ(event.record.grad_norm, event.report.grad_norm);
    EXPECT_EQ(event.run.steps, event.record.step);
    EXPECT_EQ(event.run.gradients, event.record.step);
    EXPECT_EQ(event.run.samples, event.record.step / 3 * 120 + event.record.step % 3 * 50);
    EXPECT_EQ(event.record.seconds, event.run.seconds);
    EXPECT_GT(event.run.seconds, 0);
  };
  observer.evaluation = [&](const EvaluationEvent& event) {
    ASSERT_TRUE(event.validation.has_value());
    seen_scores.push_back(*event.validation);
    EXPECT_EQ(event.run.validation.loss, event.validation->loss);
  };
  bool ended = false;
  observer.end = [&](const EndEvent& event) {
    ended = true;
    EXPECT_EQ(event.run.test.loss, test.loss);
    EXPECT_EQ(event.run.test.accuracy, test.accuracy);
  };
  trainer.Add(observer);
  const RunState& run = trainer.Run();
  EXPECT_TRUE(ended);
  EXPECT_EQ(seen_losses, losses);
  EXPECT_EQ(seen_rates, rates);
  ASSERT_EQ(seen_scores.size(), 2U);
  double lowest = INFINITY, best = 0;
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(seen_scores[i].loss, scores[i].loss);
    EXPECT_EQ(seen_scores[i].accuracy, scores[i].accuracy);
    lowest = std::min(lowest, scores[i].loss);
    best = std::max(best, scores[i].accuracy);
  }
  EXPECT_EQ(run.best.loss, lowest);
  EXPECT_EQ(run.best.accuracy, best);
  EXPECT_EQ(run.steps, 6);
  EXPECT_EQ(run.samples, 240);
}

TEST_F(TrainerTest, ObserversSeeWhatThoseBeforeThemMeasured) {
  Trainer trainer(ReadRecipe({"train.steps=1"}));
  Functions first, second;
  first.step = [](const StepEvent& event) { event.record.components = "measured"; };
  second.step = [](const StepEvent& event) { EXPECT_EQ(event.record.components, "measured"); };
  trainer.Add(first);
  trainer.Add(second);
  trainer.Run();
}

TEST_F(TrainerTest, ObserversAndCallersMayEndTheRun) {
  std::vector<std::string> notes;
  Witness witness("w", notes);
  Functions stopper;
  stopper.step = [](const StepEvent& event) {
    if (event.record.step != 3) return;
    event.run.Stop("enough");
    event.run.Stop("too late");
  };
  Trainer trainer(ReadRecipe());
  trainer.Add(stopper);
  trainer.Add(witness);
  const RunState& run = trainer.Run();
  EXPECT_EQ(run.stopped, "enough");
  EXPECT_EQ(run.steps, 3);
  EXPECT_TRUE(std::isfinite(run.test.loss));
  ASSERT_GE(notes.size(), 3U);
  EXPECT_EQ(notes[notes.size() - 3], "w step 3 of epoch 1");
  EXPECT_EQ(notes[notes.size() - 2], "w evaluation after 3");
  EXPECT_EQ(notes.back(), "w end: enough");

  Trainer interrupted(ReadRecipe());
  int asked = 0;
  interrupted.Run([&] { return ++asked == 10; });
  EXPECT_EQ(interrupted.run().stopped, "interrupted at step 10, epoch 2");
}

// What is evaluated and saved at the end are averaged weights; afterwards the model has its own.
TEST_F(TrainerTest, TheEndSeesTheWeightsThatWereTested) {
  Trainer trainer(ReadRecipe({"optimizer.swa={start=0, every=1}", "train.epochs=1"}));
  Session& session = trainer.session();
  const auto score = [&] {
    return Evaluate(session.model(), session.test(), session.loss(), session.compute()).loss;
  };
  Functions observer;
  double at_end = 0;
  observer.end = [&](const EndEvent&) { at_end = score(); };
  trainer.Add(observer);
  trainer.Run();
  EXPECT_EQ(at_end, trainer.run().test.loss);
  EXPECT_NE(score(), at_end);
}

TEST_F(TrainerTest, DivergedRunsAreNotTested) {
  Trainer trainer(ReadRecipe({"optimizer.rule=sgd", "optimizer.lr=1e30"}));
  Functions observer;
  bool ended = false;
  observer.end = [&](const EndEvent& event) { ended = event.run.diverged; };
  trainer.Add(observer);
  EXPECT_TRUE(trainer.Run().diverged);
  EXPECT_TRUE(ended);
  EXPECT_TRUE(std::isnan(trainer.run().test.loss));
  EXPECT_FALSE(trainer.Step());
}

TEST_F(TrainerTest, EvaluationsThatARecipeWaitsForNeedData) {
  const auto message = [this](const std::string& set) {
    return kudari::testing::ErrorOf([&] { Trainer(ReadRecipe({set, "data.validation=0"})); });
  };
  EXPECT_THAT(message("train.early_stopping=3"), HasSubstr("train.early_stopping needs"));
  EXPECT_THAT(message("train.plateau_factor=0.5"), HasSubstr("train.plateau_factor needs"));
}

TEST_F(TrainerTest, StepsEndInTheMiddleOfAnEpoch) {
  EXPECT_EQ(Go(Options({"train.steps=11"})).steps, 11);
  EXPECT_EQ(Metrics("val_loss").back()["step"], 11);
  EXPECT_EQ(Go(Options({"train.steps=11", "train.epochs=0"})).steps, 11);
  EXPECT_EQ(Go(Options({"train.steps=99"})).steps, 16);
}

TEST_F(TrainerTest, EvaluatesEverySoManySteps) {
  Go(Options({"train.eval_every=5"}));
  std::vector<int64_t> at;
  for (const json& line : Metrics("val_loss")) at.push_back(line["step"]);
  EXPECT_THAT(at, ::testing::ElementsAre(5, 10, 15, 16));
}

TEST_F(TrainerTest, StopsOnSmallGradientAndSmallChange) {
  EXPECT_EQ(Go(Options({"train.min_grad_norm=1e6"})).steps, 1);
  const RunState result =
      Go(Options({"optimizer.lr=0", "train.min_loss_change=1e-3", "train.epochs=5"}));
  EXPECT_THAT(result.stopped, HasSubstr("train.min_loss_change"));
  EXPECT_EQ(result.steps, 16);
}

}  // namespace trainer_test
}  // namespace kudari::lab
