// The demonstrations: lab/demo has one file for each.
#ifndef KUDARI_LAB_DEMO_DEMOS_H_
#define KUDARI_LAB_DEMO_DEMOS_H_

#include "lab/demo/demo.h"

namespace kudari::lab {

// Each describes a demonstration.
Demo AccumulationDemo();
Demo AdagradDemo();
Demo BatchScalingDemo();
Demo ClippingDemo();
Demo DecayDemo();
Demo DescentKindsDemo();
Demo ExplodingGradientDemo();
Demo GradientDemo();
Demo LearningRateDemo();
Demo LookSamDemo();
Demo LookaheadDemo();
Demo LossScalingDemo();
Demo MomentumDemo();
Demo PatternsDemo();
Demo RangeTestDemo();
Demo SamDemo();
Demo SharpMinimaDemo();
Demo StoppingDemo();
Demo WarmupDemo();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DEMO_DEMOS_H_
