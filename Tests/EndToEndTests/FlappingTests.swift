import Foundation
import Testing

/// A link that is cut every few seconds, for a short while; `make flap` does the same for ten minutes and also judges
/// memory and open files, which need that long.
@Suite("A link that never holds")
struct FlappingTests {
    @Test("Every packet arrives once and in order, however the link is cut", .timeLimit(.minutes(8)))
    func flapping() async throws {
        let bench = try Workbench()
        let result = try await run(
            Program.checkout.appending(path: "scripts/flap.py").path,
            ["--seconds", "20", "--no-verdict"],
            environment: [
                "CONTROL_HUB": Program.binaries.appending(path: "control-hub").path,
                "EDGE_AGENT": Program.binaries.appending(path: "edge-agent").path,
            ],
            within: .seconds(420),
            in: bench.folder
        )
        #expect(result.status == 0, "\(result.text)")
        #expect(result.text.contains("all in the hub, once and in order"), "\(result.text)")
    }
}
