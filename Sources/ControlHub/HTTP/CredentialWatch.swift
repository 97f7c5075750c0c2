import Hummingbird
import NIOCore

/// Ends answers that stay open once the credential they were asked for with has ended.
struct CredentialWatch: Sendable {
    /// Between two looks: half of what docs/api.md promises.
    private static let interval = Duration.seconds(5)

    let context: HubRequestContext
    let operators: OperatorOperations

    init(_ context: HubRequestContext, _ services: HubServices) {
        self.context = context
        operators = services.operators
    }

    /// Returns once the operator was removed, or its token or session has ended. Throws `CancellationError`.
    func waitForEnd() async throws {
        repeat { try await Task.sleep(for: Self.interval) } while try await isGood()
    }

    /// Writes an answer, or reads a body, whose connection is closed in the middle where the credential ends.
    func guarding<Value>(_ body: () async throws -> Value) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                try await waitForEnd()
                context.channel.close(promise: nil)
            }
            return try await body()
        }
    }

    private func isGood() async throws -> Bool {
        do {
            if let session = context.session {
                return try await operators.authenticate(session: session.token) != nil
            }
            guard let bearer = context.bearer else { return true }
            return try await operators.authenticate(bearer: bearer) != nil
        } catch let error as HubError where error.code != .unauthenticated {
            // A database that cannot answer withdraws nothing.
            return true
        }
    }
}
