import Foundation
import GRDB
import Testing

@testable import ControlHub

@Suite("The database")
struct HubDatabaseTests {
    @Test("keeps what was written when it is opened again, and migrates only once")
    func reopen() async throws {
        let hub = try TestHub()
        let id = try await hub.parts.nodes.create(name: "kept", by: .hub).id
        let again = try TestHub(directory: hub.directory)
        #expect(try await again.parts.nodes.node(id).name == "kept")
    }

    @Test("that is damaged is named as such")
    func damaged() throws {
        let path = FileManager.default.temporaryDirectory.path + "/hub-test-\(UInt64.random(in: 0 ... .max)).sqlite"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(repeating: 7, count: 20_000).write(to: URL(fileURLWithPath: path))
        let error = #expect(throws: HubError.self) { try HubDatabase(path: path) }
        #expect(error?.code == .storageCorrupt)
    }

    @Test("is not brought up to date under an older hub that serves from it")
    func shared() async throws {
        let hub = try TestHub()
        let path = hub.directory.file(HubDatabase.fileName)
        _ = try HubDatabase(path: path, isShared: true)
        // What an older hub has made.
        try await hub.parts.database.write { db in
            try db.execute(
                sql: "DELETE FROM grdb_migrations WHERE identifier = ?",
                arguments: [MigrationLineage.name]
            )
            try db.execute(sql: "DROP TABLE hub_state; ALTER TABLE strays DROP COLUMN placement_epoch")
        }
        let refusal = #expect(throws: HubError.self) { try HubDatabase(path: path, isShared: true) }
        #expect(refusal?.detail.contains("of an earlier version") == true)
        #expect(!hub.directory.isServed)
        try hub.directory.lock()
        #expect(hub.directory.isServed)
        _ = try HubDatabase(path: path)
        _ = try HubDatabase(path: path, isShared: true)
    }

    @Test("is copied whole by a backup while it is used")
    func backup() async throws {
        let hub = try TestHub()
        let id = try await hub.parts.nodes.create(name: "copied", by: .hub).id
        let target = hub.directory.file("copy.sqlite")
        try hub.parts.database.backup(to: target)
        let copy = NodeStore(database: try HubDatabase(path: target))
        #expect(try await copy.node(id)?.name == "copied")
    }
}
