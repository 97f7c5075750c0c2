import Glibc
import Testing

@testable import EdgeAgent

/// Every step of a rotation, each followed by a crash: a new source on the same directory.
@Suite("Token rotation")
struct TokenRotationTests {
    private let folder: FixtureFolder
    private let directory: StateDirectory
    private let old = Secret("edge_old_token_0123456789")
    private let next = Secret("edge_new_token_0123456789")

    init() throws {
        folder = try FixtureFolder()
        directory = try StateDirectory(path: folder.path)
        try IdentityStore(directory: directory).save(
            NodeIdentity(hubURL: "https://hub.example", nodeID: "n1", nodeName: "attic", token: old),
            authorityPEM: nil
        )
    }

    /// The agent as it starts on what is on disk.
    private func start(_ flags: [AgentConfiguration.Key: String] = [:]) throws -> CredentialSource {
        var flags = flags
        flags[.stateDirectory] = folder.path
        return try CredentialSource(
            try AgentConfiguration(flags: flags, file: nil, environment: [:]),
            IdentityStore(directory: directory)
        )
    }

    private func clean() { unlink(directory.file(IdentityStore.identityFile)) }

    @Test("Stored, proved, dropped: after a crash at any step the next try is with a good token")
    func happyPath() throws {
        defer { clean() }
        let agent = try start()
        #expect(agent.current.token == old)
        try agent.storeNext(next)
        #expect(agent.current.token == next)
        #expect(try start().current.token == next)
        #expect(try start().initial.token == next)
        #expect(try agent.accepted(next))
        #expect(try start().current.token == next)
        let identity = try #require(try IdentityStore(directory: directory).load())
        #expect(identity.token == next && identity.nextToken == nil)
        #expect(identity.nodeID == "n1" && identity.nodeName == "attic")
        // A second welcome has nothing to drop.
        #expect(try !agent.accepted(next))
    }

    @Test("A new token that is refused makes room for the old one, once, and also after a restart")
    func failedProof() throws {
        defer { clean() }
        let agent = try start()
        try agent.storeNext(next)
        #expect(agent.refused(next))
        #expect(agent.current.token == old)
        #expect(try start().current.token == old)
        // The old one is no new one: its refusal is a problem for a person.
        #expect(!agent.refused(old))
        #expect(!agent.refused(next))
    }

    @Test("A welcome with the old token says nothing about the new one")
    func oldAccepted() throws {
        defer { clean() }
        let agent = try start()
        try agent.storeNext(next)
        #expect(try !agent.accepted(old))
        #expect(agent.current.token == next)
    }

    @Test("Where the disk takes nothing, the old token stays, and a refused new one is not tried again")
    func fullDisk() throws {
        defer {
            chmod(folder.path, 0o700)
            clean()
        }
        let agent = try start()
        try agent.storeNext(next)
        // The file cannot be replaced while this stands in its place.
        let blocker = directory.file(IdentityStore.identityFile + ".new")
        #expect(mkdir(blocker, 0o700) == 0)
        defer { rmdir(blocker) }
        #expect(throws: AgentError.self) { try agent.accepted(next) }
        #expect(agent.current.token == next)
        #expect(agent.refused(next))
        #expect(agent.current.token == old)
        #expect(!agent.refused(next))
        #expect(throws: AgentError.self) { try agent.storeNext(Secret("edge_other_token_0123456")) }
        #expect(agent.current.token == old)
    }

    @Test("Pairing again in between wins over both")
    func pairedAgain() throws {
        defer { clean() }
        let agent = try start()
        try agent.storeNext(next)
        let paired = Secret("edge_paired_token_012345")
        try IdentityStore(directory: directory).save(
            NodeIdentity(hubURL: "https://hub.example", nodeID: "n1", nodeName: "attic", token: paired),
            authorityPEM: nil
        )
        #expect(agent.current.token == paired)
        #expect(try !agent.accepted(next))
        #expect(!agent.refused(next))
        #expect(agent.current.token == paired)
    }

    @Test("A token that was given is not replaced, and says what to do instead")
    func given() throws {
        defer { clean() }
        let agent = try start([.token: "edge_given", .hubURL: "https://hub.example"])
        let error = #expect(throws: AgentError.self) { try agent.storeNext(next) }
        #expect(error?.message.contains("enroll --again") == true)
        #expect(agent.current.token == Secret("edge_given"))
    }

    @Test(
        "What is no token is refused: it would go into a header",
        arguments: [
            "", "short", "edge_with blank_0123456789", "edge_\r\nX-Evil: 1_0123456789", "edge_ümlaut_0123456789",
        ]
    )
    func noToken(text: String) throws {
        defer { clean() }
        let agent = try start()
        #expect(throws: AgentError.self) { try agent.storeNext(Secret(text)) }
        #expect(agent.current.token == old)
    }
}
