import Foundation
import Glibc
import Testing

@Suite("SIGTERM ends the hub")
struct ShutdownTests {
    /// How long the hub waits for what is open, after which it ends the hard way.
    private static let limit = Duration.seconds(5)

    @Test("well within its limit, although a reader of its events answers no more", .timeLimit(.minutes(5)))
    func vanishedReader() async throws {
        let bench = try Workbench()
        let hub = try await bench.startHub()
        let api = try await hub.admin()
        let reader = try Program(
            "/usr/bin/curl",
            [
                "--silent", "--no-buffer", "--cacert", hub.authority, "--header",
                "Authorization: Bearer \(api.token ?? "")", hub.url + "/api/events",
            ],
            in: bench.folder
        )
        try await eventually("the stream begins", or: { reader.text }) { reader.text.contains("retry:") ? () : nil }
        // Its connection stays as it is; what it is sent is neither read nor answered.
        reader.signal(SIGSTOP)
        hub.program.signal(SIGTERM)
        let clock = ContinuousClock()
        let begin = clock.now
        #expect(try await hub.program.exit() == 0)
        let taken = clock.now - begin
        #expect(taken < Self.limit - .seconds(1), "it took \(taken)")
    }
}
