import Testing

@testable import ControlHub

@Suite("Node health")
struct HealthPolicyTests {
    private let policy = HealthPolicy(thresholds: HealthThresholds())

    @Test(
        "follows the age of the last heartbeat or the time since the connection closed",
        arguments: [
            (.neverSeen, .neverSeen),
            (.connected(quietFor: .zero), .online),
            (.connected(quietFor: .seconds(30)), .online),
            (.connected(quietFor: .milliseconds(30_001)), .degraded),
            (.connected(quietFor: .seconds(45)), .degraded),
            (.connected(quietFor: .milliseconds(45_001)), .offline),
            (.closed(ago: .zero, reason: "x"), .degraded),
            (.closed(ago: .seconds(10), reason: "x"), .degraded),
            (.closed(ago: .milliseconds(10_001), reason: "x"), .offline),
        ] as [(HealthPolicy.Link, NodeHealthState)]
    )
    func table(link: HealthPolicy.Link, expected: NodeHealthState) {
        let verdict = policy.evaluate(link)
        #expect(verdict.state == expected)
        #expect(!verdict.reason.isEmpty)
    }
}
