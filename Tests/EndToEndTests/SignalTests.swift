import Foundation
import Glibc
import Testing

@Suite("Started from a shell, as under a service manager", .serialized)
struct SignalTests {
    @Test("both programs outlive a write to somebody who is gone, and bots get signals as they expect them")
    func brokenPipes() async throws {
        let story = try await Story()
        let pipe: UInt64 = 1 << (13 - 1)
        for program in [story.hub.program, story.agent] {
            let ignored = try mask("SigIgn", Int(program.pid))
            #expect(ignored & pipe != 0)
        }
        let bot = try await story.api.get("/api/bots/\(story.bot)")["pid"].int ?? 0
        let (ignored, blocked) = (try mask("SigIgn", bot), try mask("SigBlk", bot))
        // But for what Python ignores by itself, SIGPIPE and SIGXFSZ, and what the C library does: its own two beyond 31.
        #expect(ignored & 0x7FFF_FFFF & ~pipe & ~(1 << (25 - 1)) == 0)
        #expect(blocked == 0)
    }

    private func mask(_ name: String, _ pid: Int) throws -> UInt64 {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix(name) }
        let text = line?.split(separator: "\t").last.map(String.init) ?? ""
        guard let mask = UInt64(text, radix: 16) else { throw Failure("no \(name) in \(status)") }
        return mask
    }
}
