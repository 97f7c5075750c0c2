import Foundation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Snapshots that something needs, and files that nobody knows")
struct SnapshotKeepingTests {
    private struct Stage {
        let hub: TestHub
        let node: NodeID
        let bot: BotID

        var snapshots: SnapshotOperations { hub.services.deployments.context.snapshots }
        var folder: String { hub.directory.file("snapshots") }
        var strays: String { folder + "/" + SnapshotStrays.folder }

        init(_ bounds: SnapshotBounds = SnapshotBounds(keptPerBot: 1)) async throws {
            hub = try TestHub(snapshots: bounds)
            hub.channel.stream.withLock { $0 = { _ in try SnapshotServiceTests.emptyWorkspace() } }
            (node, bot) = try await hub.botOnNode()
        }

        /// A moment after the one before.
        func take(before deployment: DeploymentID? = nil) async throws -> SnapshotID {
            hub.clock.advance(by: .seconds(1))
            return try await snapshots.take(bot, on: node, before: deployment, by: .hub).id
        }

        func kept() async throws -> [SnapshotID] { try await snapshots.store.list(bot).map(\.id) }

        func files() throws -> Set<String> {
            Set(try FileManager.default.contentsOfDirectory(atPath: folder)).subtracting([SnapshotStrays.folder])
        }

        func setAside() -> Set<String> { Set((try? FileManager.default.contentsOfDirectory(atPath: strays)) ?? []) }

        /// Begins a deployment that puts a snapshot back.
        func restore(_ snapshot: SnapshotID) async throws -> Deployment {
            let place = Placement(node: node, runtimeProfile: "default")
            let deployment = Deployment(
                id: .make(at: hub.now),
                bot: bot,
                actor: "test",
                createdAt: hub.now,
                source: Placement(node: node, runtimeProfile: "default", config: "{}"),
                target: place,
                isForced: false,
                origin: .snapshot,
                snapshot: snapshot.rawValue,
                wasRunning: false,
                state: .running,
                step: .preflight,
                isCancelRequested: false,
                updatedAt: hub.now
            )
            try await hub.parts.database.write { db in try DeploymentStore.insert(db, deployment) }
            return deployment
        }

        func end(_ deployment: Deployment, _ state: DeploymentState) async throws {
            var ended = deployment
            ended.state = state
            let now = ended
            try await hub.parts.database.write { db in try DeploymentStore.update(db, now) }
        }
    }

    @Test("What a deployment under way puts back is given up by nothing, whatever number, age or an operator say")
    func needed() async throws {
        let stage = try await Stage()
        let old = try await stage.take()
        let rollback = try await stage.restore(old)
        // As its preflight does.
        let own = try await stage.take(before: rollback.id)
        #expect(try await stage.kept() == [own, old])
        try await stage.snapshots.setKept(stage.bot, 0, by: .hub)
        #expect(try await stage.kept() == [own, old])
        for id in [own, old] {
            await expectHubError(.deploymentRunning) { try await stage.snapshots.delete(id, by: .hub) }
        }
        let gone = try await stage.snapshots.expire(before: stage.hub.now.addingTimeInterval(1000))
        #expect(gone.count == 0)
        #expect(try stage.files() == [own.rawValue, old.rawValue])
        // Nor by another that is taken meanwhile.
        let other = try await stage.take()
        #expect(try await stage.kept() == [other, own, old])
        try await stage.end(rollback, .succeeded)
        try await stage.snapshots.prune(stage.bot)
        #expect(try await stage.kept() == [other])
        #expect(try stage.files() == [other.rawValue])
    }

    @Test("What could not be put back is there for who tries again")
    func triedAgain() async throws {
        let stage = try await Stage()
        let old = try await stage.take()
        for _ in 0..<3 {
            let rollback = try await stage.restore(old)
            let own = try await stage.take(before: rollback.id)
            #expect(try await stage.kept() == [own, old])
            try await stage.end(rollback, .failed)
        }
        let next = try await stage.take()
        #expect(try await stage.kept() == [next], "and no longer than that")
    }

    @Test("A deployment does not begin with a snapshot that was given up in the meantime")
    func chosenTooLate() async throws {
        let stage = try await Stage()
        let snapshot = try await stage.take()
        try await stage.hub.parts.database.write { db in try SnapshotStore.require(db, snapshot) }
        try await stage.snapshots.delete(snapshot, by: .hub)
        await expectHubError(.conflict) {
            try await stage.hub.parts.database.write { db in try SnapshotStore.require(db, snapshot) }
        }
        #expect(try stage.files().isEmpty)
    }

    @Test("Files of a newer database are set aside, and have their place again with that database")
    func restoredDatabase() async throws {
        let stage = try await Stage(SnapshotBounds(keptPerBot: 5))
        let (first, second) = (try await stage.take(), try await stage.take())
        // A backup of before the second is put back.
        let row = try #require(try await stage.snapshots.store.list(stage.bot).first)
        try await stage.snapshots.store.delete(second)
        try await stage.snapshots.tidy()
        #expect(try stage.files() == [first.rawValue] && stage.setAside() == [second.rawValue])
        // And then the right one.
        try await stage.snapshots.store.insert(row)
        try await stage.snapshots.tidy()
        #expect(try stage.files() == [first.rawValue, second.rawValue] && stage.setAside().isEmpty)
        #expect(try await stage.kept() == [second, first])
    }

    @Test("What was being given up goes, and what was not after all stays; half a file goes")
    func endsInTheMiddle() async throws {
        let stage = try await Stage(SnapshotBounds(keptPerBot: 5))
        let (kept, gone) = (try await stage.take(), try await stage.take())
        let manager = FileManager.default
        for id in [kept, gone] {
            try manager.moveItem(
                atPath: stage.folder + "/\(id)",
                toPath: stage.folder + "/" + SnapshotFile.leaving(id.rawValue)
            )
        }
        try await stage.snapshots.store.delete(gone)
        try Data("half".utf8).write(to: URL(filePath: stage.folder + "/" + SnapshotFile.unfinished("snap_half")))
        try await stage.snapshots.tidy()
        #expect(try stage.files() == [kept.rawValue] && stage.setAside().isEmpty)
        #expect(try await stage.kept() == [kept])
        // A row whose file is nowhere is of no use to anybody.
        try manager.removeItem(atPath: stage.folder + "/\(kept)")
        try await stage.snapshots.tidy()
        #expect(try await stage.kept().isEmpty)
    }

    @Test("What is set aside has what room the snapshots leave, the oldest going first, and goes by age as they do")
    func bounded() async throws {
        let stage = try await Stage(SnapshotBounds(keptPerBot: 5, totalBytes: 2_500))
        try FileManager.default.createDirectory(atPath: stage.strays, withIntermediateDirectories: true)
        for (index, name) in ["snap_a", "snap_b", "snap_c"].enumerated() {
            let path = stage.strays + "/" + name
            try Data(count: 1_000).write(to: URL(filePath: path))
            try FileManager.default.setAttributes(
                [.modificationDate: stage.hub.now.addingTimeInterval(Double(index) * 100)],
                ofItemAtPath: path
            )
        }
        try await stage.snapshots.tidy()
        #expect(stage.setAside() == ["snap_b", "snap_c"])
        _ = try await stage.snapshots.expire(before: stage.hub.now.addingTimeInterval(150))
        #expect(stage.setAside() == ["snap_c"])
        #expect(try await HubMetrics(services: stage.hub.services).text().contains("controlhub_snapshot_strays 1"))
    }

    // MARK: Taking

    private func canned(_ messages: [WireSyncMessage]) throws -> AgentStream {
        let rest = Mutex(try messages.map { try $0.serializedBytes() as [UInt8] })
        return AgentStream(
            send: { _ in },
            receive: { rest.withLock { $0.isEmpty ? nil : $0.removeFirst() } },
            finish: {},
            reset: { _, _ in }
        )
    }

    @Test("A snapshot without what could not be read is none, and the reason is not that it was written to")
    func unreadable() async throws {
        let stage = try await Stage()
        let entry = WireSyncEntry.with { ($0.path, $0.type, $0.size) = (Data("secret".utf8), .file, 3) }
        let manifest = WireSyncMessage.with { ($0.manifest.entries, $0.manifest.isLast) = ([entry], true) }
        let end = WireSyncMessage.with { message in
            message.data.parts = [.with { ($0.file, $0.end.outcome) = (0, .unreadable) }]
        }
        let asked = Mutex(0)
        stage.hub.channel.stream.withLock { stream in
            stream = { header in
                asked.withLock { $0 += 1 }
                #expect(header.syncSource.takesLinks)
                return try canned([manifest, end])
            }
        }
        do {
            _ = try await stage.take()
            Issue.record("it was taken")
        } catch let error as HubError {
            #expect(error.code == .forbidden && error.detail.contains("secret cannot be read"), "\(error)")
        }
        #expect(asked.withLock { $0 } == 1, "trying again does not help")
        #expect(try stage.files().isEmpty)
    }

    @Test("An agent that leaves out what it ought to carry has to be upgraded first")
    func leftOut() async throws {
        let stage = try await Stage()
        let end = WireSyncMessage.with { $0.end.digest = Data(Digest256.zero.bytes) }
        @Sendable func manifest(_ reason: String) -> WireSyncMessage {
            .with { message in
                message.manifest.skipped = [.with { ($0.path, $0.reason) = (Data("venv/python3".utf8), reason) }]
                message.manifest.isLast = true
            }
        }
        stage.hub.channel.stream.withLock { stream in
            stream = { _ in try canned([manifest("a symbolic link out of the workspace, to /usr/bin/python3"), end]) }
        }
        do {
            _ = try await stage.take()
            Issue.record("it was taken")
        } catch let error as HubError {
            #expect(error.code == .agentTooOld && error.detail.contains("venv/python3"), "\(error)")
        }
        stage.hub.channel.stream.withLock { stream in
            stream = { _ in try canned([manifest(WireSyncSkipped.special), end]) }
        }
        _ = try await stage.take()
    }
}
