import Glibc
import Testing

@testable import EdgeAgent

@Suite struct LaunchPlanTests {
    private var plan: LaunchPlan {
        var plan = LaunchPlan()
        plan.launchID = "l1"
        plan.executable = "/bin/sh"
        plan.arguments = ["/bin/sh", "-c", "a=b\nc", ""]
        plan.workingDirectory = "/w"
        plan.environment = ["A": "1=2", "B": "", "ÄÖ": "line\nline"]
        plan.packetPrefix = "@@packet-x "
        plan.stop = StopSequence(steps: [.init(SIGINT, .seconds(1))])
        plan.logLimits.segmentBytes = 7
        plan.logLimits.segmentCount = 3
        return plan
    }

    @Test("A plan comes back as it was written, whatever stands in its words")
    func roundTrip() {
        #expect(LaunchPlan(plan.encoded) == plan)
    }

    @Test("A plan cut short anywhere is no plan")
    func cut() {
        let bytes = plan.encoded
        for length in 0..<(bytes.count - 1) { #expect(LaunchPlan(Array(bytes[..<length])) == nil) }
    }

    @Test("A zero byte cannot smuggle in a field, and unknown fields are passed over")
    func zeroBytes() {
        var tricky = plan
        tricky.arguments = ["/bin/sh", "x\0executable=/bin/evil"]
        #expect(LaunchPlan(tricky.encoded)?.executable == "/bin/sh")
        #expect(LaunchPlan(Array("later=1\0".utf8) + plan.encoded) == plan)
    }
}
