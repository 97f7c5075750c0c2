import Foundation
import Testing

@testable import EdgeAgent

@Suite("Identity on disk")
struct IdentityTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "identity-\(UUID().uuidString)").path
    private let identity = NodeIdentity(
        hubURL: "https://hub.example",
        nodeID: "node_1",
        nodeName: "kitchen",
        token: Secret("nt_secret"),
        pinSHA256: nil
    )

    private func directory() throws -> StateDirectory { try StateDirectory(path: folder) }

    @Test("what was saved is loaded again, and the file is for its owner only")
    func roundTrip() throws {
        let store = IdentityStore(directory: try directory())
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(try store.load() == nil)
        try store.save(identity, authorityPEM: Array("PEM".utf8))
        #expect(try store.load() == identity)
        #expect(try store.authorityPath() == folder + "/hub-ca.pem")
        let attributes = try FileManager.default.attributesOfItem(atPath: folder + "/identity.json")
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test("a damaged file is an error that names it, and stays as it is")
    func damaged() throws {
        let directory = try directory()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try directory.write("identity.json", Array("{\"hub_url\":".utf8))
        #expect { try IdentityStore(directory: directory).load() } throws: {
            ($0 as? AgentError)?.message.contains("identity.json") == true
        }
        #expect(try directory.read("identity.json") == Array("{\"hub_url\":".utf8))
    }

    @Test("a file left half-written by a crash harms nobody")
    func crashWhileWriting() throws {
        let directory = try directory()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try directory.write("identity.json", Array("old".utf8))
        try Data("half".utf8).write(to: URL(fileURLWithPath: folder + "/identity.json.new"))
        #expect(try directory.read("identity.json") == Array("old".utf8))
        try directory.write("identity.json", Array("new".utf8))
        #expect(try directory.read("identity.json") == Array("new".utf8))
    }

    @Test("two agents cannot use one state directory")
    func locked() throws {
        let directory = try directory()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = try directory.lock()
        #expect { try directory.lock() } throws: { ($0 as? AgentError)?.message.contains("in use") == true }
        close(first)
        close(try directory.lock())
    }

    @Test("a secret does not show when it is printed, described or dumped")
    func redacted() {
        var text = "\(identity) \(identity.token) \(String(reflecting: identity.token))"
        dump(identity, to: &text)
        #expect(!text.contains("nt_secret"))
        #expect(identity.token.reveal() == "nt_secret")
    }
}
