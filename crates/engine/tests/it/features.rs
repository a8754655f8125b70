//! Features are encoded once, and no picture depends on the cache.

use uso_engine::{CacheCounts, Engine, Error, Image, PromptTokens, Reference, Request, TokenCount, Uso};

use crate::engines::{generate, mini, request};
use crate::mini::reference;

/// Every combination of two prompts, two subjects and two styles.
fn grid() -> Vec<Request> {
    let prompts = ["the subject is at the left in the snow", "the subject is in the middle in the blue sky"];
    let contents = ["content_heart.png", "content_star.png"];
    let styles = ["style_sketch.png", "style_dots.png"];
    let mut requests = Vec::new();
    for prompt in prompts {
        for content in contents {
            for style in styles {
                requests.push(Request {
                    prompt: prompt.into(),
                    content: Some(reference(content).into()),
                    styles: vec![reference(style).into()],
                    steps: 2,
                    ..request()
                });
            }
        }
    }
    requests
}

fn pictures(uso: &mut Uso) -> Vec<Image> {
    let mut outcome = |request: &Request| -> Result<Image, Error> {
        let sample = uso.encode(request)?;
        generate(uso, sample)
    };
    grid().iter().map(|request| outcome(request).unwrap()).collect()
}

#[test]
fn a_grid_encodes_each_prompt_and_reference_once() {
    let (mut caching, mut forgetful) = (mini(), mini().with_cache_bytes(0));
    let cached = pictures(&mut caching);
    assert!(cached == pictures(&mut forgetful), "the cache changes pictures");
    let CacheCounts { hits, misses, bytes } = caching.cache();
    assert_eq!((hits, misses), (18, 6));
    assert!(bytes > 10_000, "{bytes} bytes");
    assert_eq!(forgetful.cache(), CacheCounts { hits: 0, misses: 24, bytes: 0 });
}

#[test]
fn features_are_told_apart_by_all_that_they_are_made_from() {
    let mut uso = mini();
    let mut encoded = |request: Request| {
        let before = uso.cache().misses;
        uso.encode(&request).unwrap();
        uso.cache().misses - before
    };
    assert_eq!(encoded(request()), 3);
    assert_eq!(encoded(Request { seed: 1, guidance: 2.0, width: 48, ..request() }), 0);
    assert_eq!(encoded(Request { content_size: 48, ..request() }), 1);
    // The same picture as a subject and as a style is encoded by another part of the model.
    let heart: Reference = reference("content_heart.png").into();
    assert_eq!(encoded(Request { styles: vec![heart], ..request() }), 1);
    let mut style = reference("style_sketch.png");
    style.rgb[0] ^= 1;
    assert_eq!(encoded(Request { styles: vec![style.into()], ..request() }), 1);
}

#[test]
fn a_small_cache_stays_within_its_bytes() {
    let mut uso = mini().with_cache_bytes(20_000);
    pictures(&mut uso);
    let CacheCounts { hits, bytes, .. } = uso.cache();
    assert!(hits > 0 && bytes <= 20_000, "{hits} hits, {bytes} bytes");
}

#[test]
fn tokens_are_counted_also_of_a_prompt_that_is_in_the_cache() {
    let mut uso = mini();
    let short = uso.encode(&request()).unwrap();
    let PromptTokens { t5, clip } = short.prompt_tokens();
    assert_eq!((t5.cut, clip.cut), (0, 0));
    assert!(t5.tokens > 8 && clip.tokens > 8, "{t5:?} {clip:?}");

    let long = Request { prompt: "the heart is red ".repeat(20), ..request() };
    let counted =
        [uso.encode(&long).unwrap(), uso.encode(&long).unwrap()].map(|sample| sample.prompt_tokens());
    assert_eq!(uso.cache().misses, 4, "the second was in the cache");
    assert_eq!(counted[0], counted[1]);
    let TokenCount { tokens, cut } = counted[0].t5;
    assert!(tokens > 80 && tokens - cut == 32, "{counted:?}");

    let checkpoint = uso.checkpoint(&short).unwrap();
    let resumed = uso.resume(&request(), &checkpoint).unwrap();
    assert_eq!(uso.prompt_tokens(&resumed), Some(PromptTokens { t5, clip }));
}
