import Foundation
import Testing

/// A bot's log lies where it was written. After a move by force the node that has the first part is gone.
@Suite("The log of a bot whose old node is gone", .serialized)
struct DeployLogTests {
    private struct Log {
        var emitted: [Int] = []
        /// Reasons for which something is missing, in the order of the log.
        var holes: [String] = []
        /// Lines that came before the first hole.
        var beforeHole = 0
    }

    private func log(_ stage: DeployStage) async throws -> Log {
        var log = Log()
        var offset = 0
        while true {
            let page = try await stage.api.get("/api/bots/\(stage.bot)/logs?offset=\(offset)")
            for line in page["lines"].array {
                let text = line["text"].string ?? ""
                if text.hasPrefix("emit line "), let number = Int(text.split(separator: " ")[2]) {
                    log.emitted.append(number)
                    if log.holes.isEmpty { log.beforeHole += 1 }
                } else if let event = try? JSON(parsing: text), event["event"] == "elsewhere" {
                    log.holes.append(event["reason"].string ?? "")
                }
            }
            guard let next = page["next_offset"].int, next > offset else { return log }
            offset = next
        }
    }

    /// Has the bot write so many numbered lines.
    private func emit(_ count: Int, _ stage: DeployStage) async throws {
        _ = try await stage.api.post("/api/bots/\(stage.bot)/messages", ["text": .string("emit \(count)")])
        try await eventually("the bot has written \(count) lines", or: { stage.evidence }) {
            let tail = try await stage.api.get("/api/bots/\(stage.bot)/logs?tail=20")["lines"].array
            return tail.contains { $0["text"].string?.hasPrefix("emit line \(count) of \(count)") == true } ? () : nil
        }
    }

    private func force(_ stage: DeployStage) async throws {
        let ended = try await stage.end(of: try await stage.deploy(["force": .bool(true)]))
        #expect(ended["state"] == "succeeded", "\(ended)\n\(stage.evidence)")
        try await stage.settled()
    }

    @Test("is followed to where the bot goes, and back, over one stream", .timeLimit(.minutes(8)))
    func followed() async throws {
        let stage = try await DeployStage()
        try await emit(5, stage)
        let events = try await stage.api.events("/api/bots/\(stage.bot)/logs?follow=true&tail=1")
        for count in [21, 22] {
            let ended = try await stage.end(of: try await stage.deploy())
            #expect(ended["state"] == "succeeded", "\(ended)\n\(stage.evidence)")
            try await stage.settled()
            try await emit(count, stage)
            var isFound = false
            for try await event in events {
                let lines = event["lines"].array.compactMap { $0["text"].string }
                isFound = lines.contains { $0.hasPrefix("emit line \(count) of \(count)") }
                if isFound { break }
            }
            #expect(isFound, "\(stage.evidence)")
        }
    }

    @Test("says in one line that its first part is away, goes on with the second, and has both when the node is back")
    func withoutCopy() async throws {
        let stage = try await DeployStage()
        let old = stage.source
        try await emit(30, stage)
        try await stage.cutPower(of: old)
        try await force(stage)
        try await emit(20, stage)
        let away = try await log(stage)
        #expect(away.emitted == Array(1...20) && away.holes.count == 1 && away.beforeHole == 0, "\(away)")
        try stage.restart(old)
        try await stage.online(old)
        try await stage.idle()
        let back = try await log(stage)
        #expect(back.emitted == Array(1...30) + Array(1...20) && back.holes.isEmpty, "\(back)")
    }

    @Test(
        "is read from what the hub has kept of it, up to there, and then from the new node; also when that is away as well"
    )
    func withCopy() async throws {
        let stage = try await DeployStage(settings: ["HUB_KEEP_LOGS": "4M"])
        let old = stage.source
        try await emit(300, stage)
        func isKept(_ line: String, of node: DeployStage.Node) throws -> Bool {
            let folder = stage.hub.data.appending(path: "logs/\(stage.bot)/\(node.id)")
            // Absent before the first line.
            let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
            return try files.contains {
                try Data(contentsOf: folder.appending(path: $0)).range(of: Data(line.utf8)) != nil
            }
        }
        try await eventually("the hub has a copy", or: { stage.evidence }) {
            try isKept("emit line 300 of 300", of: old) ? () : nil
        }
        try await stage.cutPower(of: old)
        try await force(stage)
        try await emit(20, stage)
        let both = try await log(stage)
        #expect(both.emitted == Array(1...300) + Array(1...20), "\(both)")
        #expect(both.holes.count == 1 && both.holes[0].contains("copy of the log ends here"), "\(both)")
        #expect(both.beforeHole == 300)

        // What the old node wrote is kept once, as that node's.
        try await eventually("the hub has a copy of what follows", or: { stage.evidence }) {
            try isKept("emit line 20 of 20", of: stage.source) ? () : nil
        }
        #expect(try !isKept("emit line 300 of 300", of: stage.source))
        stage.kill(stage.source)
        try await stage.gone(stage.source)
        let none = try await log(stage)
        #expect(none.emitted == Array(1...300) + Array(1...20) && none.holes.count == 1, "\(none)")
    }
}
