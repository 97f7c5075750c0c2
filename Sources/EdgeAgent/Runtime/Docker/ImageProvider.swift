import WireFormat

/// Sees to it that an image is on the node, with the node's own credentials.
struct ImageProvider: Sendable {
    /// Between two words about how far a pull has come.
    private static let progressPause = Duration.milliseconds(500)

    let engine: EngineClient
    let credentials: RegistryCredentials
    let notes: LaunchNotes

    /// Pulls the image where the settings say so; the notes tell how far that has come.
    ///
    /// - Throws: `imageMissing`, `pullRefused`, `pullFailed`, `engineUnavailable`.
    func provide(_ settings: ContainerSettings, botID: String) async throws(RuntimeError) {
        let isHere = try await isHere(settings.image)
        switch settings.pull {
        case .never:
            guard isHere else { throw Self.missing(settings.image) }
        case .missing:
            if !isHere { try await pull(settings.image, botID: botID) }
        case .always:
            do throws(RuntimeError) {
                try await pull(settings.image, botID: botID)
            } catch {
                // What is here serves until the registry is back.
                guard isHere, !Task.isCancelled else { throw error }
            }
        }
    }

    /// Whether the image is on the node, or its registry has it for these credentials. Nothing is pulled.
    ///
    /// - Throws: as `provide`.
    func check(_ settings: ContainerSettings) async throws(RuntimeError) {
        if try await isHere(settings.image) { return }
        guard settings.pull != .never else { throw Self.missing(settings.image) }
        guard let image = ImageReference(settings.image) else { throw Self.noName(settings.image) }
        let authorization = try credentials.authorization(for: image.registry)
        do throws(EngineError) {
            try await engine.requireInRegistry(image, authorization: authorization)
        } catch {
            guard case .refused(_, let message) = error else { throw error.asRuntimeError }
            throw refusal(settings.image, image, message, authorization != nil)
        }
    }

    private func isHere(_ image: String) async throws(RuntimeError) -> Bool {
        do throws(EngineError) {
            return try await engine.image(image) != nil
        } catch {
            throw error.asRuntimeError
        }
    }

    private func pull(_ name: String, botID: String) async throws(RuntimeError) {
        guard let image = ImageReference(name) else {
            throw Self.noName(name)
        }
        let authorization = try credentials.authorization(for: image.registry)
        var progress = PullProgress(image: name)
        notes[botID] = progress.text
        defer { notes[botID] = nil }
        var told = ContinuousClock.now
        do throws(EngineError) {
            let body = try await engine.pull(image, authorization: authorization)
            while let bytes = try await body.next() {
                progress.feed(bytes)
                guard ContinuousClock.now - told >= Self.progressPause else { continue }
                told = .now
                notes[botID] = progress.text
            }
            progress.end()
        } catch {
            switch error {
            case .refused(_, let message): throw refusal(name, image, message, authorization != nil)
            default: throw error.asRuntimeError
            }
        }
        if let problem = progress.failure { throw refusal(name, image, problem, authorization != nil) }
        guard try await isHere(name) else {
            throw RuntimeError(
                .imageMissing,
                "the image \(name) was pulled and is not on this node; was it removed again?"
            )
        }
    }

    private func refusal(
        _ name: String,
        _ image: ImageReference,
        _ message: String,
        _ hasCredentials: Bool
    ) -> RuntimeError {
        let lower = message.lowercased()
        let isDenied = ["unauthorized", "denied", "authentication required", "no basic auth"].contains {
            lower.contains($0)
        }
        let isUnknown = ["not found", "manifest unknown", "does not exist"].contains { lower.contains($0) }
        let advice: String
        if isDenied {
            if hasCredentials {
                advice =
                    "the credentials in \(credentials.file) are not accepted; run docker login \(image.registry) on the node"
            } else if credentials.needsHelper(for: image.registry) {
                advice =
                    "\(credentials.file) leaves the credentials to a helper program, which the agent does not run; put them "
                    + "into its \"auths\""
            } else {
                advice =
                    "\(credentials.file) has none for \(image.registry); run docker login \(image.registry) on the node"
            }
        } else if isUnknown {
            advice = "check the image's name and tag"
        } else {
            advice = "see that the node reaches \(image.registry), then start the bot again"
        }
        return RuntimeError(
            isDenied || isUnknown ? .pullRefused : .pullFailed,
            "the image \(name) cannot be pulled: \(message.prefix(300)); \(advice)"
        )
    }

    private static func noName(_ image: String) -> RuntimeError {
        RuntimeError(.profileNotUsable, "\"\(image)\" is no name of an image")
    }

    static func missing(_ image: String) -> RuntimeError {
        RuntimeError(
            .imageMissing,
            "the image \(image) is not on this node and the profile never pulls; load it (docker load, docker pull) or set "
                + "\"pull\" to \"missing\""
        )
    }
}

extension EngineError {
    /// For what asked the engine on behalf of a bot.
    var asRuntimeError: RuntimeError {
        RuntimeError(isPassing ? .engineUnavailable : .launchFailed, reason)
    }
}
