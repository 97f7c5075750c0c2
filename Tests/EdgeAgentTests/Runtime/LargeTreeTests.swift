import Glibc
import Testing

@testable import EdgeAgent

/// Work on a workspace of many files, while other bots want something.
@Suite(.timeLimit(.minutes(2)))
struct LargeTreeTests {
    private static let files = 20_000

    @Test("A bot that is removed with many files holds nobody up")
    func removal() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let backend = try bench.backend()
        let profile = bench.shell("exec sleep 600")
        for botID in ["a", "b"] { try await backend.prepare(botID: botID, configuration: [], profile: profile) }
        let workspace = bench.directory("a") + "/workspace"
        for number in 0..<Self.files { close(open("\(workspace)/\(number)", O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)) }
        async let removed: Void = backend.remove(botID: "a", keeping: [])
        var answered = 0
        while access(bench.directory("a"), F_OK) == 0 {
            _ = await backend.status(botID: "b")
            answered += 1
        }
        try await removed
        // On its own queue a removal would leave room for one or two answers, before and after it.
        #expect(answered > 5)
        #expect(access(bench.directory("a"), F_OK) != 0)
    }
}
