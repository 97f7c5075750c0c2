import Foundation

/// Pairs agents with the hub by one-time codes.
struct EnrollmentOperations: Sendable {
    let store: EnrollmentStore
    let nodes: NodeOperations
    let key: HubKey
    let strangers: Strangers
    let clock: HubClock

    static let defaultLifetime = Duration.seconds(15 * 60)
    /// A code that lives longer than a day is a password.
    static let maximumLifetime = Duration.seconds(24 * 3600)

    /// Makes a code. This is the only time it is seen.
    ///
    /// - Parameter node: id or name of a node that exists; whoever redeems the code becomes that node, with its history
    ///   and its bots, and what held its identity before does not any more. Throws `notFound` where there is none.
    func create(
        name: String?,
        node: String? = nil,
        lifetime: Duration,
        by actor: Actor
    ) async throws -> (Enrollment, EnrollmentCode) {
        guard lifetime >= .seconds(1), lifetime <= Self.maximumLifetime else {
            throw HubError(.invalidRequest, "A code can live from 1 second to 24 hours.")
        }
        let date = clock.date()
        let code = EnrollmentCode.random()
        guard name == nil || node == nil else {
            throw HubError(.invalidRequest, "A node that is paired again keeps its name. Leave out `name`.")
        }
        var target: Node?
        if let node { target = try await nodes.find(node) }
        let enrollment = Enrollment(
            id: .make(at: date),
            name: try name.map { try NamePolicy.checked($0) } ?? target?.name,
            forNodeID: target?.id,
            createdBy: actor.name,
            createdAt: date,
            expiresAt: date.addingTimeInterval(lifetime.seconds),
            redeemedAt: nil,
            nodeID: nil
        )
        let made = try await store.create(
            EnrollmentStore.Made(enrollment: enrollment, code: code),
            codeHash: key.enrollmentHash(code.canonical),
            by: actor
        )
        return (made.enrollment, made.code)
    }

    func list(before: EnrollmentID?, limit: Int) async throws -> [Enrollment] {
        try await store.list(before: before, limit: limit)
    }

    func delete(_ id: EnrollmentID, by actor: Actor) async throws {
        try await store.delete(id, at: clock.date(), by: actor)
    }

    /// Redeems a code.
    ///
    /// The agent that redeemed it may ask again with the same request id while the code lives: it gets the same node
    /// with a new token, and a token that was never used is dropped. Throws `rateLimited`, `enrollmentCodeInvalid`,
    /// `enrollmentCodeExpired`, `enrollmentCodeUsed`.
    ///
    /// A code that is good passes whatever others have tried; one that is not is counted for its address, and beyond the
    /// bounds neither kept nor explained.
    ///
    /// - Parameter address: who asks.
    func redeem(_ request: EnrollmentRequest, from address: ClientAddress) async throws -> Redeemed {
        let judgement = try await strangers.desk.judge(
            .pairingCode,
            request.code,
            from: address,
            isGood: { $0 == nil },
            lookUp: { try await fault(of: request) }
        )
        if let wait = judgement.wait {
            strangers.refusals.note(.pairingLimit, address: address.text)
            throw FailureLimiter.refusal("Too many tries.", wait)
        }
        do {
            if let fault = judgement.found { throw fault }
            return try await redeemGood(request)
        } catch let error as HubError where Self.refusals.contains(error.code) {
            strangers.refusals.note(.pairingCode, address: address.text)
            await note(EnrollmentAttempt(at: clock.date(), address: address.text, request, error), request.code)
            throw error
        }
    }

    /// Why a request cannot be granted; nil where it can. Nothing is written to find out.
    private func fault(of request: EnrollmentRequest) async throws -> HubError? {
        do {
            let (code, _) = try Self.checked(request)
            return try await store.fault(
                codeHash: key.enrollmentHash(code.canonical),
                requestID: request.requestId,
                at: clock.date()
            )
        } catch let error as HubError where Self.refusals.contains(error.code) {
            return error
        }
    }

    /// What is said to who asks, and kept for operators.
    private static let refusals: Set<HubError.Code> = [
        .invalidRequest, .notFound, .enrollmentCodeInvalid, .enrollmentCodeExpired, .enrollmentCodeUsed,
    ]

    /// The limits on tries bound how often this writes.
    private func note(_ attempt: EnrollmentAttempt, _ code: String) async {
        let hash = EnrollmentCode(code).map { key.enrollmentHash($0.canonical) }
        // `try?`: a note that cannot be kept must not hide why the pairing was refused.
        let id = try? await EnrollmentAttemptStore(database: store.database).add(attempt, codeHash: hash)
        // Ids alone: who may read events need not be an administrator.
        nodes.events.publish(
            "enrollment.updated",
            at: attempt.at,
            .object([
                "change": .string("attempt_refused"),
                "enrollment_id": (id ?? nil).map { .string($0.rawValue) } ?? .null,
            ])
        )
    }

    /// The code and the name that a request holds. Throws `invalidRequest`, `enrollmentCodeInvalid`.
    private static func checked(_ request: EnrollmentRequest) throws -> (code: EnrollmentCode, name: String) {
        guard (8...128).contains(request.requestId.utf8.count) else {
            throw HubError(.invalidRequest, "`request_id` must have 8 to 128 bytes.")
        }
        guard let code = EnrollmentCode(request.code) else {
            throw HubError(
                .enrollmentCodeInvalid,
                "This is no enrollment code. It looks like XXXX-XXXX-XXXX; copy it again."
            )
        }
        let wishes = [request.name, request.hostName, "node"].compactMap { $0 }.filter { !$0.isEmpty }
        return (code, try NamePolicy.checked(wishes[0]))
    }

    private func redeemGood(_ request: EnrollmentRequest) async throws -> Redeemed {
        let (code, wanted) = try Self.checked(request)
        let date = clock.date()
        let token = SecretBytes.token(prefix: NodeOperations.tokenPrefix)
        let (node, name, isNew, isPairedAgain) = try await store.redeem(
            codeHash: key.enrollmentHash(code.canonical),
            requestID: request.requestId,
            wantedName: wanted,
            newNode: .make(at: date),
            tokenHash: SecretBytes.digest(token),
            at: date
        )
        if isPairedAgain {
            nodes.announcePairedAgain(node, at: date)
        } else if isNew {
            nodes.announceCreated(node, name: name, at: date)
        }
        return Redeemed(nodeID: node, nodeName: name, token: token, isNew: isNew, isPairedAgain: isPairedAgain)
    }
}
