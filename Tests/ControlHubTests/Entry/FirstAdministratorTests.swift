import Testing

@testable import ControlHub

@Suite("The first administrator")
struct FirstAdministratorTests {
    private func actions(_ hub: TestHub) async throws -> [String] {
        try await hub.services.audit.list(limit: 100).map(\.action).reversed()
    }

    @Test("is made once, and without a login token where nobody is shown one")
    func unattended() async throws {
        let hub = try TestHub()
        for _ in 0..<2 {
            let first = try await hub.parts.operators.firstAdministrator(withLoginToken: false)
            #expect(first == OperatorOperations.FirstAdministrator(name: "admin", loginToken: nil))
        }
        #expect(try await hub.parts.operators.list().map(\.name) == ["admin"])
        #expect(try await actions(hub) == ["operator.add"])
    }

    @Test("signs in with the link that the command made, although the hub was started again meanwhile")
    func byCommand() async throws {
        let hub = try TestHub()
        let operators = hub.parts.operators
        _ = try await operators.firstAdministrator(withLoginToken: false)
        let link = try await operators.makeLoginToken(name: "admin", by: .commandLine).token
        #expect(try await operators.firstAdministrator(withLoginToken: false) != nil)
        #expect(try await operators.startSession(token: link).operator.name == "admin")
        #expect(try await operators.firstAdministrator(withLoginToken: false) == nil)
    }

    @Test("has a new token at each start that somebody looks at, until somebody has signed in; the last one is good")
    func attended() async throws {
        let hub = try TestHub()
        let operators = hub.parts.operators
        var tokens: [String] = []
        for _ in 0..<3 {
            tokens.append(try #require(try await operators.firstAdministrator(withLoginToken: true)?.loginToken))
        }
        for old in tokens.dropLast() {
            await expectHubError(.unauthenticated) { _ = try await operators.startSession(token: old) }
        }
        let last = try #require(tokens.last)
        #expect(try await operators.startSession(token: last).operator.name == "admin")
        #expect(try await operators.firstAdministrator(withLoginToken: true) == nil)
        let expected = ["operator.add", "operator.login_link", "operator.login_link", "session.start"]
        #expect(try await actions(hub) == expected)
    }

    @Test("is nobody where an operator has a token, or there are several")
    func inUse() async throws {
        let hub = try TestHub()
        _ = try await hub.parts.operators.add(name: "ada", role: .admin, by: .commandLine)
        #expect(try await hub.parts.operators.firstAdministrator(withLoginToken: true) == nil)

        let other = try TestHub()
        _ = try await other.parts.operators.firstAdministrator(withLoginToken: false)
        _ = try await other.parts.operators.add(name: "ben", role: .viewer, withToken: false, by: .commandLine)
        #expect(try await other.parts.operators.firstAdministrator(withLoginToken: true) == nil)
        #expect(try await other.parts.operators.list().map(\.name).sorted() == ["admin", "ben"])
    }
}
