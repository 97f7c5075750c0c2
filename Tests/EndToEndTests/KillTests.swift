import Foundation
import Testing

/// Every part killed at random moments, for a short while; `make kill-test` does it three hundred times.
@Suite("kill -9 of every part")
struct KillTests {
    @Test("Nothing is lost, doubled or claimed that is not so", .timeLimit(.minutes(8)))
    func killing() async throws {
        let bench = try Workbench()
        let result = try await run(
            Program.checkout.appending(path: "scripts/kill-test.py").path,
            ["--rounds", "18", "--seed", "1"],
            environment: [
                "CONTROL_HUB": Program.binaries.appending(path: "control-hub").path,
                "EDGE_AGENT": Program.binaries.appending(path: "edge-agent").path,
            ],
            within: .seconds(420),
            in: bench.folder
        )
        #expect(result.status == 0, "\(result.text)")
        #expect(result.text.contains("all told as they were, no bot lived on unseen"), "\(result.text)")
    }
}
