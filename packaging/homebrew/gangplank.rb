# A release puts its version and digests (SHA256SUMS) in place of the words in capitals, and the repository's address.
class Gangplank < Formula
  desc "SSH bastions for SaaS vendors, from one YAML plan"
  homepage "HOMEPAGE"
  version "VERSION"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    on_arm do
      url "HOMEPAGE/releases/download/vVERSION/gangplank-VERSION-aarch64-apple-darwin.tar.gz"
      sha256 "SHA256_AARCH64_APPLE_DARWIN"
    end
    on_intel do
      url "HOMEPAGE/releases/download/vVERSION/gangplank-VERSION-x86_64-apple-darwin.tar.gz"
      sha256 "SHA256_X86_64_APPLE_DARWIN"
    end
  end

  on_linux do
    on_arm do
      url "HOMEPAGE/releases/download/vVERSION/gangplank-VERSION-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "SHA256_AARCH64_UNKNOWN_LINUX_GNU"
    end
    on_intel do
      url "HOMEPAGE/releases/download/vVERSION/gangplank-VERSION-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "SHA256_X86_64_UNKNOWN_LINUX_GNU"
    end
  end

  def install
    bin.install "gangplank"
    if Dir.exist?("completions")
      bash_completion.install "completions/gangplank"
      zsh_completion.install "completions/_gangplank"
      fish_completion.install "completions/gangplank.fish"
    end
  end

  test do
    system bin/"gangplank", "demo", "--quiet"
  end
end
