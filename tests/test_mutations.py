"""The tests that guard what is easily broken unseen, held to it: each break below must make one of them fail."""

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
JUDGED = re.compile(r"^E +(AssertionError|assert (?!.*(code|status))|Failed: DID NOT RAISE)", re.MULTILINE)
"""A test that has failed by its own judgement, not by what another process said."""


class Mutation(NamedTuple):
    """One break: `new` in place of `old` in a file, which the tests named must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "reference: a default changes and its page stays",
        "pipeline/registry/checks.py",
        "max_fall: float = 0.1\n",
        "max_fall: float = 0.2\n",
        "tests/bench/test_reference.py::test_reference_page_is_what_the_code_says[configuration]",
    ),
    Mutation(
        "numerics: float64 becomes float32 before it is scaled",
        "features/scale.py",
        "        vector_RD = vector_RD.astype(np.float64)\n    largest_R",
        "        vector_RD = vector_RD.astype(np.float32)\n    largest_R",
        "tests/features/test_scale.py::test_in_range_any_finite_rows_keep_their_directions_and_can_be_squared",
    ),
    Mutation(
        "numerics: a row of zeros has a slope",
        "model/parallel.py",
        "torch.where(length_R1 > SMALLEST_NORM, length_R1, torch.inf)",
        "length_R1.clamp(min=SMALLEST_NORM)",
        "tests/model/backbones/test_backbone_contract.py::TestBackboneContract::"
        "test_backbone_nodes_without_interactions_leave_gradients_of_usual_size",
    ),
    Mutation(
        "numerics: a vector of zeros is content",
        "model/data.py",
        "self.present[name] & (largest_I > 0)",
        "self.present[name] & (largest_I >= 0)",
        "tests/model/test_data.py::test_training_data_zero_vector_is_an_absent_one",
    ),
    Mutation(
        "numerics: only losses are looked at, not parameters",
        "model/divergence.py",
        "    elif worst and after[worst] > (",
        "    elif not worst and after[worst] > (",
        "tests/model/test_divergence.py::"
        "test_require_numbers_parameters_without_numbers_behind_a_last_finite_loss_are_seen",
    ),
    Mutation(
        "warm start: a new user begins at random",
        "model/warm_start.py",
        "model.user_embedding_UD * ~model.trained_U[:, None]",
        "model.user_embedding_UD * torch.ones_like(model.trained_U)[:, None]",
        "tests/model/test_warm_start.py::"
        "test_carry_over_new_user_begins_at_what_the_items_bring_and_one_without_any_at_random",
    ),
    Mutation(
        "signals: a SIGTERM that is sent twice ends the command half tidied",
        "pipeline/cli/interrupt.py",
        "time.monotonic() - self._since > SAME",
        "time.monotonic() - self._since >= 0",
        "tests/pipeline/cli/test_interrupt.py::test_terminated_twice_tidies_up_unless_the_second_comes_later",
    ),
    Mutation(
        "signals: typer takes SIGTERM for Ctrl-C",
        "pipeline/cli/application.py",
        "except KeyboardInterrupt as stop:",
        "except EOFError as stop:",
        "tests/pipeline/cli/test_interrupt.py::test_signal_while_a_command_runs_is_told",
    ),
    Mutation(
        "signals: the command takes them only when its imports are done",
        "pipeline/cli/__init__.py",
        "    take_signals()\n    try:",
        "    try:",
        "tests/pipeline/cli/test_interrupt.py::test_signal_while_commands_are_imported_is_told_as_later",
    ),
    Mutation(
        "numbers: an infinite rating is one",
        "pipeline/catalogue/cleaning.py",
        "{RATING: pl.col(RATING).is_finite(), WEIGHT",
        "{RATING: pl.lit(True), WEIGHT",
        "tests/pipeline/catalogue/test_numbers.py::test_parquet_infinite_rating_is_refused",
    ),
    Mutation(
        "secrets: an @ behind the host is taken for a part of the path",
        "pipeline/addresses.py",
        'return None if blank or "@" in behind or',
        "return None if blank or",
        "tests/pipeline/test_addresses.py::test_require_certain_refuses_and_says_no_secret",
    ),
    Mutation(
        "secrets: MLflow's password is sent to whatever server the configuration names",
        "pipeline/registry/connection.py",
        "    _keep_credentials(uri)\n",
        "",
        "tests/pipeline/registry/test_tracking.py::test_open_tracking_sends_credentials_to_no_other_server",
    ),
    Mutation(
        "metrics: the gate's margin is that of the worse end of the interval",
        "pipeline/registry/judging/judge.py",
        "margin=estimate.interval[1] + gate.max_regression",
        "margin=estimate.interval[0] + gate.max_regression",
        "tests/pipeline/registry/judging/test_judge.py::"
        "test_judge_margin_is_below_nothing_where_a_row_refuses_and_nowhere_else",
    ),
    Mutation(
        "signature: any key's will do",
        "pipeline/release/signature.py",
        "        key.verify(signature, message)\n",
        "        pass\n",
        "tests/pipeline/release/test_signature.py::test_signature_of_another_key_is_refused",
    ),
    Mutation(
        "signature: promote asks for none",
        "pipeline/registry/promotion.py",
        "        require_signed(store.release(run_id), keys)\n",
        "        pass\n",
        "tests/pipeline/registry/test_promotion.py::"
        "test_promote_where_a_public_key_is_configured_takes_only_what_it_signed",
    ),
    Mutation(
        "signature: load_champion takes what was cached unsigned",
        "pipeline/serving/champion.py",
        """        name += f"-{_signed(root.release(champion.run_id), keys)[:16]}\"""",
        "        _signed(root.release(champion.run_id), keys)",
        "tests/pipeline/serving/test_champion.py::"
        "test_load_champion_with_a_public_key_uses_nothing_that_was_cached_without_one",
    ),
    Mutation(
        "signature: an increment that nobody signed is served",
        "pipeline/release/increment.py",
        "found = read_increment(increments, number, keys)",
        "found = read_increment(increments, number)",
        "tests/pipeline/serving/test_champion.py::"
        "test_load_champion_with_a_public_key_serves_the_newest_increment_that_is_signed",
    ),
    Mutation(
        "signature: an increment is exchanged before it is signed",
        "pipeline/release/increment.py",
        "            require_signature(written.folder, document, [key.public_key()], SIGNED)",
        "            pass",
        "tests/pipeline/serving/test_increment.py::test_increment_exchanged_before_it_is_signed_is_not_published",
    ),
    Mutation(
        "verify: the model for new items is not looked at",
        "pipeline/registry/audit.py",
        "problem = problem or (embedder_problem(tracking, asked[-1]) if asked else None)",
        "problem = problem or None",
        "tests/pipeline/serving/test_embedder.py::"
        "test_verify_names_a_damaged_model_for_new_items_and_registering_again_mends_it",
    ),
    Mutation(
        "gc: the signed increment goes that readers have fallen back on",
        "pipeline/upkeep/sweep.py",
        "newest_sound(self.store.increments_of(night.id), digest, self.keys)",
        "newest_sound(self.store.increments_of(night.id), digest)",
        "tests/pipeline/upkeep/test_gc.py::test_gc_increments_before_one_that_is_not_signed_stay",
    ),
    Mutation(
        "pgvector: rows of an unsigned increment are taken for what stands there",
        "pipeline/serving/pgvector_state.py",
        "read_increment(self.store.increments_of(there.run_id), there.number, self.keys)",
        "read_increment(self.store.increments_of(there.run_id), there.number)",
        "tests/pipeline/serving/test_pgvector.py::test_load_release_with_a_key_takes_no_step_from_an_unsigned_increment",
    ),
    Mutation(
        "register: a note of a run that is gone stays",
        "pipeline/stages/register.py",
        " or swap_bytes(file, noted, own):",
        " or agreed is mlflow_run:",
        "tests/pipeline/stages/test_register.py::"
        "test_register_whose_run_began_first_but_was_seen_last_takes_the_one_that_was_noted[gone]",
    ),
    Mutation(
        "register: two attempts do not agree on one run of MLflow",
        "pipeline/stages/register.py",
        "_agreed(run, tracking, tracking.start_run(run.id))",
        "tracking.start_run(run.id)",
        "tests/pipeline/stages/test_register.py::"
        "test_register_whose_run_began_first_but_was_seen_last_takes_the_one_that_was_noted[nothing]",
    ),
    Mutation(
        "register: the alias goes to whichever model for new items is last",
        "pipeline/registry/tracking.py",
        "        if found and found.embedder in of_release:\n",
        "        if False:\n",
        "tests/pipeline/registry/test_tracking.py::"
        "test_set_champion_takes_the_model_for_new_items_that_was_registered_with_it",
    ),
    Mutation(
        "digests: a committed file is read without a look",
        "pipeline/storage/committed.py",
        'return None if file_sha256(file) == self.digests[name] else "is damaged: its sha256 is not the one committed"',
        "return None",
        "tests/pipeline/storage/test_committed.py::test_open_of_a_damaged_file_names_it_and_the_mend",
    ),
    Mutation(
        "digests: a document's seal is not looked at",
        "pipeline/storage/seal.py",
        "return bool(document[SEAL] == _seal_of(document))",
        "return True",
        "tests/pipeline/storage/test_seal.py::test_seal_any_changed_character_that_changes_the_document_is_seen",
    ),
    Mutation(
        "digests: any manifest is believed",
        "pipeline/release/manifest.py",
        "if sha256 and hashlib.sha256(payload).hexdigest() != sha256:",
        "if False:",
        "tests/pipeline/release/test_manifest.py::test_read_manifest_other_than_the_one_registered_is_refused",
    ),
    Mutation(
        "digests: a feature part is read without a look",
        "pipeline/dataset/feature_store.py",
        "if recorded is not None and recorded != _digest(table):",
        "if False:",
        "tests/pipeline/dataset/test_feature_store.py::test_read_part_with_a_flipped_bit_is_damaged_wherever_it_is",
    ),
    Mutation(
        "digests: a checkpoint is read without a look",
        "pipeline/stages/checkpoint.py",
        "if header.get(DIGEST, digest := _digest(header[STATE], tensors)) != digest:",
        "if False:",
        "tests/pipeline/stages/test_checkpoint.py::test_load_checkpoint_flipped_bit_of_a_tensor_is_damage",
    ),
    Mutation(
        "encoders: OpenVINO's vectors under torch's key",
        "features/encoder.py",
        "OPENVINO: config.backend == OPENVINO,",
        "OPENVINO: False,",
        "tests/features/test_openvino_backend.py::test_key_of_torch_stays_and_names_what_changes_the_vectors",
    ),
    Mutation(
        "encoders: a store of torch's vectors is computed again",
        "pipeline/dataset/features.py",
        "    if len(specs) == 1:",
        "    if specs:",
        "tests/pipeline/stages/test_extract.py::test_extract_store_with_vectors_by_torch_goes_on_with_torch",
    ),
    Mutation(
        "contents: a reading is trusted though the file was just written",
        "pipeline/storage/version.py",
        "settled = version == after and int(version.version) + SETTLES_NS < now",
        "settled = version == after",
        "tests/pipeline/stages/test_reads.py::test_night_file_written_as_it_was_read_is_not_trusted",
    ),
    Mutation(
        "contents: remembered before the features are written",
        "pipeline/stages/extract_pictures.py",
        "        self._encode(write, everything=True)\n        write(partial(self.contents.add, self._read))",
        "        write(partial(self.contents.add, self._read))\n        self._encode(write, everything=True)",
        "tests/pipeline/stages/test_reads.py::test_night_what_is_remembered_has_its_features",
    ),
    Mutation(
        "contents: every shard reads every picture",
        "pipeline/stages/extract_pictures.py",
        "zlib.crc32(name.encode()) % shard[1]",
        "shard[0]",
        "tests/pipeline/stages/test_reads.py::test_every_picture_has_one_shard",
    ),
    Mutation(
        "contents: what validate has read is read again",
        "pipeline/stages/extract_pictures.py",
        "at_hand.get(name) or UnreadPicture(pictures, name)",
        "UnreadPicture(pictures, name)",
        "tests/pipeline/stages/test_reads.py::test_night_new_picture_is_read_once_and_an_unchanged_one_never",
    ),
    Mutation(
        "space: the rotation turns the other way",
        "pipeline/release/rotation.py",
        "left_DD @ right_DD",
        "(left_DD @ right_DD).T",
        "tests/pipeline/release/test_rotation.py::test_procrustes_of_noisy_rows_is_better_than_any_rotation_near_it",
    ),
    Mutation(
        "space: users outweigh items by their number",
        "pipeline/release/rotation.py",
        "cross_DD += moments(now_RD, then_RD) / length",
        "cross_DD += moments(now_RD, then_RD)",
        "tests/pipeline/release/test_rotation.py::test_procrustes_sides_weigh_alike_whatever_their_number_and_length",
    ),
    Mutation(
        "space: users stay where they were trained",
        "pipeline/stages/align.py",
        "turns = {ITEM_VECTORS: rotation_DD, USERS: rotation_DD, CONTENT: content_DD}",
        "turns = {ITEM_VECTORS: rotation_DD, USERS: np.eye(len(rotation_DD)), CONTENT: content_DD}",
        "tests/pipeline/stages/test_align.py::"
        "test_export_of_the_champions_vectors_in_another_space_is_the_champions_release",
    ),
    Mutation(
        "space: new items' vectors are not rotated",
        "pipeline/release/rotations.py",
        "return vector_QD if rotation_DD is None else rotated(vector_QD, rotation_DD)",
        "return vector_QD",
        "tests/pipeline/serving/test_embed.py::test_embed_items_of_a_rotated_release_are_rotated_like_it",
    ),
    Mutation(
        "space: a resumed run is aligned to another champion",
        "pipeline/registry/predecessor.py",
        "create_bytes(file, as_json(as_document(_present(store))))",
        "as_json(as_document(_present(store)))",
        "tests/pipeline/registry/test_predecessor.py::test_predecessor_that_is_damaged_itself_is_an_error",
    ),
    Mutation(
        "delta: a vector that moved a little is left out",
        "pipeline/release/delta.py",
        "(vectors_of(then, name) != vectors_of(now, name))",
        "~np.isclose(vectors_of(then, name), vectors_of(now, name))",
        "tests/pipeline/release/test_delta.py::test_make_delta_vector_that_differs_in_its_last_bit_has_moved",
    ),
    Mutation(
        "warm start: the champion's own state is no candidate",
        "model/training.py",
        "self.best_metric = (1 + LEAST_GAIN) * metric",
        "pass",
        "tests/model/test_warm_start.py::test_start_from_is_kept_where_no_epoch_is_better",
    ),
    Mutation(
        "normalisation: symmetric becomes one-sided",
        "model/normalisation.py",
        "gather_rows(scale, row_E) * gather_rows(scale, column_E)",
        "gather_rows(scale, row_E)",
        "tests/model/test_graph.py::test_nearest_neighbours_random_features_equal_naive_loops",
    ),
    Mutation(
        "normalisation: rows are not divided",
        "model/normalisation.py",
        "torch.where(connected, 1 / safe, 0.0)",
        "torch.where(connected, 1.0, 0.0)",
        "tests/model/test_user_item.py::test_user_item_graph_product_and_gradient_equal_dense",
    ),
    Mutation(
        "normalisation: a degree of zero divides",
        "model/normalisation.py",
        "safe = torch.where(connected, degree, 1.0)\n",
        "safe, connected = degree, degree >= 0\n",
        "tests/model/test_graph.py::test_nearest_neighbours_zero_vector_gives_no_nan",
    ),
    Mutation(
        "normalisation: content vectors keep their length",
        "model/micro.py",
        "content_ID = self.columns.unit_rows(fused_ID)",
        "content_ID = fused_ID",
        "tests/model/test_training.py::test_micro_forward_equals_dense_float64_reference",
    ),
    Mutation(
        "masking: seen items are ranked",
        "model/evaluation.py",
        "score_BI[row, item] = -torch.inf",
        "pass",
        "tests/model/test_evaluation.py::test_rank_items_seen_and_non_candidates_never_listed",
    ),
    Mutation(
        "masking: validation items are ranked at test",
        "pipeline/dataset/protocol.py",
        "return self._protocol._rank(self._scorer, self.relevant, [TRAIN, VALIDATION])",
        "return self._protocol._rank(self._scorer, self.relevant, [TRAIN])",
        "tests/pipeline/dataset/test_protocol.py::test_open_contest_new_items_hold_the_places_that_users_would_see",
    ),
    Mutation(
        "new items: they compete with the warm ones where those should be alone",
        "pipeline/dataset/protocol.py",
        "return self._measure(scorer, relevant, [TRAIN, VALIDATION], ~self.untrained_I)",
        "return self._measure(scorer, relevant, [TRAIN, VALIDATION])",
        "tests/pipeline/dataset/test_protocol.py::test_open_contest_warm_items_count_and_new_ones_cost_them_a_place",
    ),
    Mutation(
        "new items: those of the users' lists are counted among the warm ones",
        "pipeline/dataset/protocol.py",
        "slot_share(self._ranking, max(CUTOFFS), untrained_I)",
        "slot_share(self._ranking, max(CUTOFFS), ~untrained_I)",
        "tests/pipeline/dataset/test_protocol.py::test_open_contest_new_items_hold_the_places_that_users_would_see",
    ),
    Mutation(
        "new items: places that nothing fills are counted",
        "model/evaluation.py",
        "listed = listed[listed >= 0]",
        "listed = listed.flatten()",
        "tests/model/test_evaluation.py::test_slot_share_counts_filled_places_of_the_cut_lists",
    ),
    Mutation(
        "similar items: an item is its own neighbour",
        "model/similar_items.py",
        "cosine_CI[torch.arange(len(anchor_C), device=anchor_C.device), anchor_C] = -torch.inf",
        "pass",
        "tests/model/test_similar_items.py::test_nearest_items_length_and_what_is_not_listed_do_not_count",
    ),
    Mutation(
        "similar items: long vectors are nearer",
        "model/similar_items.py",
        "(vector_ID[anchor_C] @ vector_ID.T).mul_(scale_I)",
        "(vector_ID[anchor_C] @ vector_ID.T)",
        "tests/model/test_similar_items.py::test_nearest_items_length_and_what_is_not_listed_do_not_count",
    ),
    Mutation(
        "similar items: a purchase of a new item counts as not found",
        "pipeline/dataset/similar.py",
        "later = protocol.parts[TEST].restricted_to(~protocol.untrained_I)",
        "later = protocol.parts[TEST]",
        "tests/pipeline/dataset/test_similar.py::test_measure_held_out_purchases_are_found_among_neighbours",
    ),
    Mutation(
        "content yardstick: lengths of features count",
        "model/baselines/cosines.py",
        "self.scale_I[item], (len(user_B)",
        "torch.ones(len(item)), (len(user_B)",
        "tests/model/baselines/test_scorers.py::test_summed_cosines_are_sums_of_cosines_whatever_the_lengths",
    ),
    Mutation(
        "masking: seen items compete with cold ones",
        "model/evaluation.py",
        "score_BI.masked_fill_(~candidate_I, -torch.inf)",
        "pass",
        "tests/model/test_evaluation.py::test_rank_items_seen_and_non_candidates_never_listed",
    ),
    Mutation(
        "baselines: item-kNN is not shrunk",
        "model/baselines/neighbours.py",
        "norm_I + shrinkage)",
        "norm_I)",
        "tests/model/baselines/test_scorers.py::test_item_knn_shrunk_equals_naive_loop",
    ),
    Mutation(
        "FREEDOM: pairs of low degree are dropped first",
        "model/baselines/freedom.py",
        "degree_I[data.item_T]).sqrt()",
        "degree_I[data.item_T]).rsqrt()",
        "tests/model/baselines/test_freedom.py::"
        "test_keep_by_degree_keeps_the_share_each_once_and_spares_pairs_of_low_degree",
    ),
    Mutation(
        "FREEDOM: dropped pairs are missing in evaluation, too",
        "model/baselines/freedom.py",
        "backbone = self._kept if self.training else self._whole",
        "backbone = self._kept",
        "tests/model/baselines/test_freedom.py::test_freedom_vectors_equal_dense_float64_formulation",
    ),
    Mutation(
        "FREEDOM: the item graph keeps its cosines",
        "model/baselines/freedom.py",
        "(graph.similarity_IK > 0).float().reshape(-1)",
        "graph.similarity_IK.reshape(-1)",
        "tests/model/baselines/test_freedom.py::test_freedom_vectors_equal_dense_float64_formulation",
    ),
    Mutation(
        "MGCN: a view is contrasted with itself",
        "model/baselines/mgcn.py",
        "gather_rows(views.behaviour_ND, node_P)",
        "gather_rows(views.side_ND, node_P)",
        "tests/model/baselines/test_mgcn.py::test_mgcn_own_loss_contrasts_the_views_of_the_batchs_users_and_items",
    ),
    Mutation(
        "compare: the search looks upwards only",
        "pipeline/experiments/compare/search.py",
        "for toward in (factor, 1 / factor):",
        "for toward in (factor,):",
        "tests/pipeline/experiments/compare/test_search.py::"
        "test_next_choice_coarse_grid_is_made_finer_around_its_best_alone",
    ),
    Mutation(
        "compare: what does not fit is measured",
        "pipeline/experiments/compare/forecast.py",
        "cost.memory_bytes <= left",
        "cost.memory_bytes >= 0",
        "tests/pipeline/experiments/compare/test_forecast.py::test_too_large_says_what_is_needed_and_what_is_free_and_nothing_where_nobody_knows",
    ),
    Mutation(
        "cold items: the same ones are held out whatever the seed",
        "pipeline/dataset/split.py",
        "np.argsort(_known_last(draws(config.seed, items), known)",
        "np.argsort(_known_last(draws(0, items), known)",
        "tests/pipeline/dataset/test_split.py::test_split_same_seed_same_split_other_seed_another",
    ),
    Mutation(
        "random split: an old interaction is held out where a user has bought more",
        "pipeline/dataset/split.py",
        "return np.where(known, half | np.uint64(1 << 63), half)",
        "return half",
        "tests/pipeline/dataset/test_split.py::test_split_through_thirty_nights_nothing_trained_on_is_held_out",
    ),
    Mutation(
        "the authors' protocol: validation items are masked",
        "pipeline/dataset/protocol.py",
        "paper_metrics(self._rank(scorer, relevant, [TRAIN]), relevant, CUTOFFS)",
        "paper_metrics(self._rank(scorer, relevant, [TRAIN, VALIDATION]), relevant, CUTOFFS)",
        "tests/pipeline/dataset/test_protocol.py::test_paper_has_the_authors_ndcg_and_the_standard_one",
    ),
    Mutation(
        "attention mask: absent modalities take their share",
        "model/fusion.py",
        "logit_IM = logit_IM.masked_fill(~present_IM, torch.finfo(logit_IM.dtype).min)",
        "pass",
        "tests/model/test_fusion.py::test_fusion_absent_modality_has_no_weight_and_no_influence",
    ),
    Mutation(
        "attention mask: items without content have weights",
        "model/fusion.py",
        "return torch.softmax(logit_IM, dim=1) * present_IM",
        "return torch.softmax(logit_IM, dim=1)",
        "tests/model/test_fusion.py::test_fusion_absent_modality_has_no_weight_and_no_influence",
    ),
    Mutation(
        "logQ: candidates of the contrast are not weighted",
        "model/contrastive.py",
        "key_KD.T, beta=-1)",
        "key_KD.T, beta=0)",
        "tests/model/test_contrastive.py::test_contrastive_loss_sampled_value_and_gradient_equal_triple_loop",
    ),
    Mutation(
        "logQ: the sample of the contrast counts as all items",
        "model/objective.py",
        "math.log((num_samples - 1) / len(item_P))",
        "0.0",
        "tests/model/test_objective.py::test_objective_sampled_contrast_equals_triple_loop_over_its_sample",
    ),
    Mutation(
        "logQ: candidates of the softmax are not weighted",
        "model/ranking/softmax.py",
        "Candidates(item_C, drawn_I, math.log(len(trained_item) / count))",
        "Candidates(item_C, drawn_I, 1e-9)",
        "tests/model/ranking/test_softmax.py::test_softmax_scores_a_few_users_once_and_its_gradient_is_autograd_s",
    ),
    Mutation(
        "self-pair: the anchor stands among its negatives",
        "model/contrastive.py",
        "logit_AK.masked_fill_(anchor_A[part, None] == item_K, -torch.inf)",
        "pass",
        "tests/model/test_contrastive.py::test_contrastive_loss_exact_equals_triple_loop",
    ),
    Mutation(
        "self-pair: the softmax counts a drawn positive twice",
        "model/ranking/softmax.py",
        " * candidates.drawn_I[item_P]",
        " * 0",
        "tests/model/ranking/test_softmax.py::test_softmax_scores_a_few_users_once_and_its_gradient_is_autograd_s",
    ),
    Mutation(
        "seen-item rejection: seen items are drawn as negatives",
        "model/sampling.py",
        "self.trained_item[draw_P + below_P]",
        "self.trained_item[draw_P]",
        "tests/model/test_sampling.py::test_unseen_items_many_draws_uniform_over_unseen_trained_items",
    ),
    Mutation(
        "seen-item rejection: a place too far",
        "model/sampling.py",
        "torch.searchsorted(self._key_T, key_P, right=True)",
        "torch.searchsorted(self._key_T, key_P, right=False)",
        "tests/model/test_sampling.py::test_epoch_unseen_items_never_seen_on_random_data",
    ),
    Mutation(
        "gradient: the contrast's keys have none",
        "model/contrastive.py",
        "grad * positive_grad_A, grad * key_grad_KD,",
        "grad * positive_grad_A, 0 * key_grad_KD,",
        "tests/model/test_contrastive.py::test_contrastive_loss_sampled_value_and_gradient_equal_triple_loop",
    ),
    Mutation(
        "gradient: the contrast's queries have none",
        "model/contrastive.py",
        "return grad * query_grad_AD,",
        "return 0 * query_grad_AD,",
        "tests/model/test_contrastive.py::test_contrastive_loss_sampled_value_and_gradient_equal_triple_loop",
    ),
    Mutation(
        "gradient: the contrast's positives count three times",
        "model/contrastive.py",
        "grad * positive_grad_A, grad",
        "3 * grad * positive_grad_A, grad",
        "tests/model/test_contrastive.py",
    ),
    Mutation(
        "contrast: the exact one is sampled",
        "model/objective.py",
        'config.contrastive == "exact" or ',
        "",
        "tests/model/test_objective.py",
    ),
    Mutation(
        "learned graph: edges count twice on steps with a gradient",
        "model/structure.py",
        "self.columns.shared(self._edge_weight())",
        "self.columns.shared(2 * self._edge_weight())",
        "tests/model/test_structure.py",
    ),
    Mutation(
        "learned graph: no gradient through the degrees",
        "model/normalisation.py",
        "safe = torch.where(connected, degree, 1.0)",
        "safe = torch.where(connected, degree, 1.0).detach()",
        "tests/model/test_structure.py",
    ),
    Mutation(
        "item graphs: one convolution whatever the number of layers",
        "model/micro.py",
        "for _ in range(self.config.item_graph_layers)",
        "for _ in range(1)",
        "tests/model/test_micro.py",
    ),
    Mutation(
        "item graphs: LATTICE's are not mixed between layers",
        "model/micro.py",
        'mixed = self.config.fusion == "graph"',
        "mixed = False",
        "tests/model/test_micro.py",
    ),
    Mutation(
        "register: of two attempts at once both keep their versions",
        "pipeline/registry/tracking.py",
        "if first.version != made.version:",
        "if False:",
        "tests/pipeline/stages/test_register.py::test_register_overtaken_by_another_attempt_leaves_one_of_each",
    ),
    Mutation(
        "register: of two attempts at once both keep their runs",
        "pipeline/registry/tracking.py",
        "if first.info.run_id != made.info.run_id:",
        "if False:",
        "tests/pipeline/stages/test_register.py::test_register_overtaken_by_another_attempt_leaves_one_of_each",
    ),
    Mutation(
        "weights: those of the first night serve for ever",
        "pipeline/stages/found_weights.py",
        "MOST_GROWTH = 0.1",
        "MOST_GROWTH = 10.0",
        "tests/pipeline/stages/test_found_weights.py::"
        "test_found_weights_serve_until_the_data_has_grown_or_shrunk_by_a_tenth",
    ),
    Mutation(
        "weights: a search goes on from random parameters",
        "pipeline/stages/warm_start.py",
        "if trainer.adaptation.searches and not trainer.searches_on:",
        "if trainer.adaptation.searches:",
        "tests/pipeline/stages/test_found_weights.py::test_train_on_data_that_has_grown_searches_on_from_the_champion",
    ),
    Mutation(
        "structure gradient: in the first step of all alone",
        "model/training.py",
        "structure_gradient=every_step or losses.steps == 0",
        "structure_gradient=every_step or (losses.steps == 0 and self.epoch == 0)",
        "tests/model/test_training.py::"
        "test_trainer_structure_gradient_reaches_the_projection_on_the_steps_of_its_setting",
    ),
    Mutation(
        "structure gradient: every step is as the first of its epoch",
        "model/training.py",
        "structure_gradient=every_step or losses.steps == 0",
        "structure_gradient=True",
        "tests/model/test_training.py::"
        "test_trainer_structure_gradient_reaches_the_projection_on_the_steps_of_its_setting",
    ),
    Mutation(
        "learning rate: it never decays",
        "model/training.py",
        'group["lr"] = rate',
        "pass",
        "tests/model/test_training.py::test_trainer_learning_rate_decays_smoothly_and_is_what_the_optimiser_steps_by",
    ),
    Mutation(
        "warm start: the graphs stay those of random parameters",
        "model/training.py",
        "self.model.refresh_graphs(anew=True)",
        "pass",
        "tests/model/test_training.py::test_trainer_start_from_has_the_graphs_of_the_parameters",
    ),
    Mutation(
        "dropout: messages that are kept are not scaled",
        "model/backbones/ngcf.py",
        " / (1 - MESSAGE_DROPOUT)",
        "",
        "tests/model/backbones/test_backbones.py::test_ngcf_dropout_zeroes_a_tenth_and_keeps_the_mean",
    ),
    Mutation(
        "dropout: half of the messages",
        "model/backbones/ngcf.py",
        "MESSAGE_DROPOUT = 0.1",
        "MESSAGE_DROPOUT = 0.5",
        "tests/model/backbones/test_backbones.py::test_ngcf_dropout_zeroes_a_tenth_and_keeps_the_mean",
    ),
    Mutation(
        "gate: the interval need only touch the limit",
        "pipeline/registry/judging/judge.py",
        "estimate.interval[1] < -gate.max_regression",
        "estimate.interval[0] < -gate.max_regression",
        "tests/pipeline/registry/judging/test_judge.py::test_judge_equal_model_passes_every_row",
    ),
    Mutation(
        "gate: pairs that the other was trained on count",
        "pipeline/registry/judging/ground.py",
        '_part(table, HELD_OUT).join(other, on=PAIR, how="anti")',
        "_part(table, HELD_OUT)",
        "tests/pipeline/registry/judging/test_judge.py::test_judge_pairs_that_either_was_trained_on_are_left_out",
    ),
    Mutation(
        "gate: what was held out then is not looked at",
        "pipeline/registry/judging/ground.py",
        "then=held_out(tables[1], trained[0])",
        "then=None",
        "tests/pipeline/registry/judging/test_judge.py::test_judge_shuffled_interactions_are_refused_by_what_was_held_out_then",
    ),
    Mutation(
        "checks: a fall is measured against today",
        "pipeline/registry/check_rows.py",
        "lowest = math.ceil(round(before * (1 - fall), 6))",
        "lowest = math.ceil(round(count * (1 - fall), 6))",
        "tests/pipeline/stages/test_input_checks.py",
    ),
    Mutation(
        "pin: nothing is compared after reading",
        "pipeline/catalogue/pin.py",
        "        raise\n    confirm(catalogue, pin)",
        "        raise",
        "tests/pipeline/catalogue/test_pin.py",
    ),
    Mutation(
        "comparison: LATTICE is MICRO by another name",
        "pipeline/experiments/compare/trained.py",
        '_with_bpr("lattice", {"model.fusion": "graph", ',
        '_with_bpr("lattice", {',
        "tests/pipeline/experiments/compare/test_contestants.py::test_contestants_trained_ones_change_exactly_what_is_meant",
    ),
    Mutation(
        "comparison: an ablation changes the other way",
        "pipeline/experiments/compare/contestants.py",
        '"initial-graph": {"model.initial_graph_weight": 1.0}',
        '"initial-graph": {"model.initial_graph_weight": 0.0}',
        "tests/pipeline/experiments/compare/test_contestants.py::test_contestants_trained_ones_change_exactly_what_is_meant",
    ),
    Mutation(
        "a moved store: a copy writes into the original",
        "pipeline/registry/relocation.py",
        "or _is_copy(location.folder, database, artifacts)",
        "or False",
        "tests/pipeline/registry/test_relocation.py::test_relocate_database_beside_a_store_moves_with_it",
    ),
    Mutation(
        "a moved store: a database that two stores share is rewritten",
        "pipeline/registry/relocation.py",
        "location.folder if own else location.folder.parent",
        "location.folder",
        "tests/pipeline/registry/test_relocation.py::test_relocate_database_that_two_stores_share_is_left_alone",
    ),
    Mutation(
        "MLflow lost: a number of a version is believed",
        "pipeline/registry/versions.py",
        "return found is not None and (found.run_id, found.digest) == (run_id, digest)",
        "return found is not None",
        "tests/pipeline/registry/test_versions.py",
    ),
    Mutation(
        "verify: any answer of the model will do",
        "pipeline/registry/answer.py",
        "np.allclose([said, given], best, rtol=TOLERANCE, atol=TOLERANCE)",
        "True",
        "tests/pipeline/registry/test_answer.py",
    ),
    Mutation(
        "taste: content is not centred",
        "model/finishing/taste.py",
        "centred_QF = feature_QF - mean_F",
        "centred_QF = feature_QF + 0 * mean_F",
        "tests/model/finishing/test_taste.py",
    ),
    Mutation(
        "taste: whitening stretches what is strong",
        "model/finishing/taste.py",
        "** -power",
        "** power",
        "tests/model/finishing/test_taste.py",
    ),
    Mutation(
        "taste: it grows with the history",
        "model/finishing/taste.py",
        "F.normalize(history @ content_IK, dim=1)",
        "history @ content_IK",
        "tests/model/finishing/test_taste.py",
    ),
    Mutation(
        "joining: all modalities weigh alike",
        "model/finishing/joining.py",
        "self.scale * weights[name]",
        "self.scale",
        "tests/model/finishing/test_joining.py",
    ),
    Mutation(
        "distilling: the cut learns nothing",
        "model/finishing/distilling.py",
        "settings.rate * float",
        "0 * float",
        "tests/model/finishing/test_distilling.py",
    ),
    Mutation(
        "finishing: new items are raised beyond what their content deserves",
        "model/finishing/finish.py",
        "outcome.new_share <= deserved and",
        "True and",
        "tests/model/finishing/test_finish.py",
    ),
    Mutation(
        "finishing: new items are raised whatever it costs the others",
        "model/finishing/finish.py",
        "fall <= MOST_FALL",
        "fall <= 1",
        "tests/model/finishing/test_finish.py",
    ),
    Mutation(
        "embed: new items are not raised with the catalogue's",
        "model/inductive.py",
        "finished.new_item_scale * cut.item_JD",
        "cut.item_JD",
        "tests/model/test_inductive.py",
    ),
    Mutation(
        "adaptation: a change that fails is kept",
        "model/training.py",
        "self.model.load_state_dict(self._best)\n        self.model.restore_graphs()\n        self.optimizer.state",
        "self.model.restore_graphs()\n        self.optimizer.state",
        "tests/model/test_adaptation.py::test_trainer_going_back_begins_each_change_at_the_best_state",
    ),
    Mutation(
        "adaptation: luck is a gain",
        "model/adaptation.py",
        "if self.weights == self.best:\n            return best_metric",
        "if True:\n            return best_metric",
        "tests/model/test_adaptation.py::test_adaptation_first_gain_must_exceed_luck",
    ),
    Mutation(
        "adaptation: best vectors with the weights of the last change",
        "model/training.py",
        "self.model.content_weight = self.adaptation.best.content_weight",
        "pass",
        "tests/model/test_adaptation.py::test_trainer_best_vectors_are_those_of_the_best_weights",
    ),
    Mutation(
        "adaptation: found weights are searched again",
        "model/adaptation.py",
        "if name not in given and (searches_on or name not in found))",
        "if name not in given)",
        "tests/model/test_adaptation.py::test_adaptation_of_changes_nothing_that_is_given_found_or_cannot_be_measured",
    ),
    Mutation(
        "found weights: of another model",
        "pipeline/stages/found_weights.py",
        '"model": {**config["model"], "modalities": modalities},\n        ',
        "",
        "tests/pipeline/stages/test_found_weights.py",
    ),
    Mutation(
        "input: what is not committed counts under a glob",
        "pipeline/catalogue/locations.py",
        "if any(part.startswith(HIDDEN) and part not in spelled for part in _parts(name)[start:]):",
        "if False:",
        "tests/pipeline/catalogue/test_locations.py::test_glob_leaves_folders_out_that_are_not_committed",
    ),
    Mutation(
        "input: folders above the location give columns",
        "pipeline/catalogue/locations.py",
        "for folder in parts[len(above) : -1]",
        "for folder in parts[:-1]",
        "tests/pipeline/catalogue/test_locations.py::test_partition_values_are_of_the_folders_below_the_location",
    ),
    Mutation(
        "input: folders that a glob matches are dropped",
        "pipeline/catalogue/locations.py",
        "            yield from _in_folder(file)\n",
        "            continue\n",
        "tests/pipeline/catalogue/test_locations.py::test_glob_descends_into_the_folders_that_it_matches",
    ),
    Mutation(
        "pictures: a progressive JPEG counts as small as it is drafted",
        "features/pictures.py",
        "whole if in_scans else",
        "whole if False else",
        "tests/features/test_pictures.py::test_pixels_of_a_progressive_jpeg_count_whole_though_it_is_drafted",
    ),
    Mutation(
        "serving: items without content are near something",
        "pipeline/serving/why.py",
        "present_I[rows] & unit_RF.any(axis=1)",
        "present_I[rows] | True",
        "tests/pipeline/serving/test_why.py::test_nearest_what_has_no_content_is_near_nothing",
    ),
    Mutation(
        "serving: a damaged cache is served",
        "pipeline/serving/champion.py",
        "whole = bool(read_json(UPath(str(folder / _DIGESTS))) == _digests(folder))",
        "whole = bool(read_json(UPath(str(folder / _DIGESTS))))",
        "tests/pipeline/serving/test_champion.py::test_load_champion_cache_that_is_not_what_was_written_is_made_anew",
    ),
    Mutation(
        "input: a table with a log is a list of files",
        "pipeline/catalogue/table_logs.py",
        "kind = _table_kind(folder) if is_local(folder)",
        "kind = None if is_local(folder)",
        "tests/pipeline/catalogue/test_locations.py::test_table_with_a_log_is_refused",
    ),
    Mutation(
        "input: quotes are taken as they come",
        "pipeline/catalogue/csv_files.py",
        "        if quoted:\n",
        "        if quoted is None:\n",
        "tests/pipeline/catalogue/test_text_files.py::test_csv_quote_where_none_can_be_is_refused_and_no_rows_are_merged",
    ),
    Mutation(
        "input: day and month are guessed",
        "pipeline/catalogue/moments.py",
        "if other is not None:",
        "if other == first:",
        "tests/pipeline/catalogue/test_moments.py::test_texts_without_the_year_first_are_refused",
    ),
    Mutation(
        "input: seconds and milliseconds are one unit",
        "pipeline/catalogue/moments.py",
        "if len(units) < 2:",
        "if len(units) < 3:",
        "tests/pipeline/catalogue/test_moments.py::test_numbers_of_two_units_are_refused",
    ),
    Mutation(
        "input: a vector of zeros is content",
        "features/precomputed.py",
        "present & ~zero, num_vectors",
        "present, num_vectors",
        "tests/pipeline/catalogue/test_oddities.py::test_zero_vectors_are_missing_and_counted",
    ),
    Mutation(
        "input: nested lists lose a level's leaves",
        "pipeline/catalogue/column_types.py",
        "    for _ in range(depth):\n        column",
        "    for _ in range(depth - 1):\n        column",
        "tests/pipeline/catalogue/test_column_types.py::test_content_of_a_plain_type_is_read_as_text",
    ),
    Mutation(
        "input: a header is one line",
        "pipeline/catalogue/csv_files.py",
        "skip_rows=header.lines",
        "skip_rows=1",
        "tests/pipeline/catalogue/test_text_files.py::test_csv_header_with_a_line_break_is_read",
    ),
    Mutation(
        "input: values are as long as csv likes",
        "pipeline/catalogue/csv_files.py",
        "csv.field_size_limit(_BLOCK_BYTES)",
        "csv.field_size_limit()",
        "tests/pipeline/catalogue/test_text_files.py::test_csv_values_are_as_long_as_a_block",
    ),
    Mutation(
        "input: the text of a number is its batch's",
        "pipeline/catalogue/json_files.py",
        "whole = whole and not _respelled(before, known)",
        "whole = True",
        "tests/pipeline/catalogue/test_text_files.py::test_json_column_has_one_type_whatever_the_batches",
    ),
    Mutation(
        "input: dates without separators are seconds",
        "pipeline/catalogue/oddities.py",
        'if dates and dates["count"]:',
        "if dates and dates is None:",
        "tests/pipeline/catalogue/test_moments.py::test_dates_without_separators_are_refused",
    ),
    Mutation(
        "terminal: titles are markup",
        "pipeline/terminal.py",
        '"markup": False, "emoji": False})',
        '"markup": True, "emoji": False})',
        "tests/pipeline/test_terminal.py",
    ),
    Mutation(
        "terminal: escape sequences are sent",
        "pipeline/terminal.py",
        "super().render_str(harmless(text)",
        "super().render_str(text",
        "tests/pipeline/test_terminal.py",
    ),
    Mutation(
        "report: what the user wrote is markup",
        "pipeline/release/page.py",
        "autoescape=True",
        "autoescape=False",
        "tests/pipeline/release/test_report.py::test_report_escapes_everything_of_the_user",
    ),
    Mutation(
        "evaluate: the champion is measured on what it was trained on",
        "pipeline/registry/judging/beside.py",
        "Pairs(ground.now.user_P[is_test], ground.now.item_P[is_test], *counts)",
        "as_pairs(own.filter(pl.col(SPLIT) == TEST), *counts)",
        "tests/pipeline/registry/judging/test_beside.py",
    ),
    Mutation(
        "evaluate: intervals of shares are normal ones",
        "pipeline/dataset/intervals.py",
        "interval=_wilson(value, users) if is_share else",
        "interval=",
        "tests/pipeline/dataset/test_intervals.py",
    ),
    Mutation(
        "pictures: links lead out of the root",
        "pipeline/catalogue/pictures.py",
        "return _real(path).is_relative_to(_real(self.root))",
        "return local_path(path).is_relative_to(local_path(self.root))",
        "tests/pipeline/catalogue/test_pictures.py::test_what_lies_outside_is_not_read_unless_it_may_be",
    ),
    Mutation(
        "pictures: all are decoded at once",
        "features/pixels.py",
        "self._held == 0 or self._held + pixels <= self.limit",
        "self._held >= 0",
        "tests/pipeline/catalogue/test_pictures.py::test_pixels_in_flight_stay_within_the_bound",
    ),
    Mutation(
        "long texts: features of cut and averaged texts are mixed",
        "features/encoder.py",
        'config.long_texts: config.long_texts != "cut",',
        "config.long_texts: False,",
        "tests/features/test_text_limits.py::test_features_of_cut_and_of_averaged_texts_have_keys_of_their_own",
    ),
    Mutation(
        "hashed words: two on one column may cancel",
        "features/hashed_words.py",
        "alternate_sign=False",
        "alternate_sign=True",
        "tests/features/test_hashed_words.py::test_hashed_words_have_length_one_however_many_fall_on_one_column",
    ),
    Mutation(
        "release: what users have in held-out parts is not in seen",
        "pipeline/stages/export.py",
        "pairs = dataset.interactions.sort(USER_INDEX, ITEM_INDEX)\n    columns",
        "pairs = dataset.interactions.filter(split=TRAIN).sort(USER_INDEX, ITEM_INDEX)\n    columns",
        "tests/pipeline/stages/test_export.py::test_seen_table_holds_every_kept_interaction_sorted_held_out_ones_too",
    ),
    Mutation(
        "ranker: a group whose best is near the bound is passed over",
        "pipeline/serving/ranker.py",
        "groups - k, axis=1)[:, groups - k]",
        "groups - k, axis=1)[:, groups - k + (k > 1)]",
        "tests/pipeline/serving/test_ranker.py::test_rank_all_best_items_in_groups_of_their_own_are_found_masked_or_not",
    ),
    Mutation(
        "ranker: masked items raise the bound",
        "pipeline/serving/ranker.py",
        "block[item_M[low:high] - start, user_M[low:high]] = -np.inf",
        "pass",
        "tests/pipeline/serving/test_ranker.py::test_rank_all_best_items_in_groups_of_their_own_are_found_masked_or_not",
    ),
    Mutation(
        "ranker: a history is not left out",
        "pipeline/serving/ranker.py",
        "own = (self._seen(question.user), question.history) if",
        "own = (self._seen(question.user),) if",
        "tests/pipeline/serving/test_ranker.py::test_recommend_history_is_folded_in_and_left_out",
    ),
    Mutation(
        "ranker: a history that the release knows moves the user",
        "pipeline/serving/ranker.py",
        "self._fold_in(np.union1d(seen, one.history)) - self._fold_in(seen)",
        "self._fold_in(np.union1d(seen, one.history))",
        "tests/pipeline/serving/test_ranker.py::test_recommend_history_that_the_release_knows_leaves_the_user_as_trained",
    ),
    Mutation(
        "ranker: what MLflow drops is ignored",
        "pipeline/serving/ranker.py",
        'names_in(data), COLUMNS)\n        require_known("parameter"',
        'names_in(model_input), COLUMNS)\n        require_known("parameter"',
        "tests/pipeline/serving/test_loaded.py::test_model_what_is_not_known_is_refused_though_mlflow_would_drop_it",
    ),
    Mutation(
        "champion: a damaged release is served",
        "pipeline/serving/champion.py",
        "digest = check_release(here).digest",
        "digest = champion.digest",
        "tests/pipeline/serving/test_champion.py::test_load_champion_damaged_release_is_refused_and_nothing_is_kept",
    ),
    Mutation(
        "increments: an attempt without its marker counts",
        "pipeline/release/increment.py",
        r'_PUBLISHED = re.compile(rf"(\d{{5,}})/{SUCCESS}")',
        '_PUBLISHED = re.compile(r"([0-9]{5,})/.*")',
        "tests/pipeline/serving/test_increment.py::test_add_increment_killed_before_the_last_step_is_not_seen_and_done_again",
    ),
    Mutation(
        "increments: one of another release counts",
        "pipeline/release/increment.py",
        "return found if found and found.increment.release_digest == release_digest else None",
        "return found",
        "tests/pipeline/serving/test_increment.py::test_find_increment_of_another_release_that_had_the_id_counts_as_none",
    ),
    Mutation(
        "increments: a damaged one stops whoever loads the champion",
        "pipeline/release/increment.py",
        "            damaged.append(str(error))\n            continue\n",
        "            raise\n",
        "tests/pipeline/serving/test_champion.py::"
        "test_load_champion_whose_increments_are_all_damaged_is_the_release_alone",
    ),
    Mutation(
        "increments: a damaged one is left out in silence",
        "pipeline/serving/champion.py",
        "    if damaged:\n",
        "    if False:\n",
        "tests/pipeline/serving/test_champion.py::"
        "test_load_champion_whose_increments_are_all_damaged_is_the_release_alone",
    ),
    Mutation(
        "increments: a damaged one stays the last, for nothing is new",
        "pipeline/serving/increment.py",
        "if not damaged and (before",
        "if (before",
        "tests/pipeline/serving/test_increment.py::"
        "test_add_increment_whose_last_is_damaged_publishes_one_of_nothing_where_all_was_withdrawn",
    ),
    Mutation(
        "increments: the champion of the beginning gets it, though it has moved",
        "pipeline/serving/increment.py",
        "return now is not None and (now.run_id, now.digest) == (self.champion.run_id, self.champion.digest)",
        "return True",
        "tests/pipeline/serving/test_increment.py::test_add_increment_champion_that_moves_in_the_middle_gets_the_increment",
    ),
    Mutation(
        "increments: the same is published every hour",
        "pipeline/serving/increment.py",
        "if not damaged and (before.increment.contents if before else {}) == new.contents:",
        "if False:",
        "tests/pipeline/serving/test_increment.py::test_add_increment_again_does_nothing_until_something_is_new",
    ),
    Mutation(
        "increments: a damaged one is read",
        "pipeline/release/sound.py",
        "elif file_sha256(file) != expected[name]:",
        "elif False:",
        "tests/pipeline/serving/test_increment.py::test_increment_table_of_another_file_in_its_place_is_damaged",
    ),
    Mutation(
        "increments: users are folded in by new items, too",
        "pipeline/release/served.py",
        "released_ID = self.item_ID if self.added_I is None else self.item_ID[~self.added_I]",
        "released_ID = self.item_ID",
        "tests/pipeline/serving/test_increment.py::test_load_champion_answers_with_the_items_of_the_increment_and_the_others_as_before",
    ),
    Mutation(
        "pgvector: what an increment brought stays with the next release's delta",
        "pipeline/serving/pgvector_rows.py",
        "        removed += _gone(before, table)\n",
        "",
        "tests/pipeline/serving/test_pgvector.py::test_load_release_after_an_increment_drops_what_the_next_release_does_not_have",
    ),
    Mutation(
        "gc: the increment that counts is an earlier one",
        "pipeline/upkeep/inventory.py",
        "if name in numbers and numbers[name] < last",
        "if name in numbers and numbers[name] <= last",
        "tests/pipeline/upkeep/test_gc.py::test_gc_increments_go_with_their_release_and_the_earlier_ones_a_day_after_the_last",
    ),
    Mutation(
        "gc: the increment that readers take, for the last is damaged, goes",
        "pipeline/upkeep/gc.py",
        "if outdated.stored and not sweep.must_leave_increments(night):",
        "if outdated.stored:",
        "tests/pipeline/upkeep/test_gc.py::"
        "test_gc_increments_before_a_damaged_one_stay_for_readers_take_the_newest_sound_one",
    ),
    Mutation(
        "gc: no increment goes while new ones come",
        "pipeline/upkeep/inventory.py",
        "since[number] = max(since.get(number, NEVER), stored[name].modified)",
        "since[number] = max(one.modified for one in stored.values())",
        "tests/pipeline/upkeep/test_gc.py::test_gc_increments_that_come_every_hour_go_a_day_after_the_next_one",
    ),
    Mutation(
        "gc: a run that was opened meanwhile is removed",
        "pipeline/upkeep/sweep.py",
        "if night.run.stored.get(OPENED) != list_stored(self.store.run(night.id)).get(OPENED):",
        "if False:",
        "tests/pipeline/upkeep/test_gc.py::test_gc_what_comes_to_be_needed_in_the_last_moment_stays",
    ),
    Mutation(
        "gc: features go although a run may read them",
        "pipeline/upkeep/gc.py",
        "for unused in [] if waiting else unused_parts(",
        "for unused in unused_parts(",
        "tests/pipeline/upkeep/test_gc.py::test_gc_features_stay_while_a_run_may_read_them",
    ),
    Mutation(
        "gc: an alias does not count",
        "pipeline/upkeep/needed.py",
        '*((run_id, f"alias {alias} in the registry") for run_id, alias in aliased.items()),',
        "",
        "tests/pipeline/upkeep/test_gc.py::test_gc_what_somebody_refers_to_stays_and_says_why",
    ),
    Mutation(
        "pgvector: a delta is applied to whatever stands there",
        "pipeline/serving/pgvector_state.py",
        "if there is None or there.digest != base:",
        "if there is None:",
        "tests/pipeline/serving/test_pgvector.py::test_load_release_delta_is_refused_where_the_tables_are_not_at_its_base",
    ),
]


FORKING = """
import json, os, sys
# Once, for all that is forked from here. Nothing is computed before, and Polars, which MLflow loads, has threads.
import numpy, pandas, pyarrow.dataset, pyarrow.parquet, pytest, scipy.stats, sqlalchemy, torch, upath
for request in sys.stdin:
    arguments, log = json.loads(request)
    child = os.fork()
    if not child:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        status = pytest.main(arguments)
        sys.stdout.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Copy:
    """The code and its tests in a folder of their own, and a process that runs some of them, in a fork each."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("model", "pipeline", "features", "deploy", "bench", "docs", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        # Bytecode by the source's hash: a break may leave a file's size and second.
        compileall.compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        command = [sys.executable, "-B", "-c", FORKING]
        environment = os.environ | {"PYTHONPATH": str(folder)}  # a test's own processes see it wherever they run
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, tests):
        """pytest's exit status, and what it said."""
        log = self.folder / "log"
        arguments = ["-q", "-x", "-p", "no:cacheprovider", *tests.split()]
        self.process.stdin.write(json.dumps([arguments, str(log)]) + "\n")
        return int(self.process.stdout.readline()), log.read_text()


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("mutations"))
    with copy.process:
        yield copy


@pytest.mark.integration
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_each_is_noticed(copied, mutation):
    file = copied.folder / mutation.file
    source = file.read_text()
    assert source.count(mutation.old) == 1, f"{mutation.file} has changed: adapt the mutation"
    file.write_text(source.replace(mutation.old, mutation.new))
    status, said = copied.run(mutation.tests)
    file.write_text(source)
    assert status == 1, said  # a test failed: 2 would be an interruption, 4 a wrong name
    if not JUDGED.search(said) or "ERROR" in said:  # what else was raised might be the copy's fault
        status, said = copied.run(mutation.tests)
        assert status == 0, said
